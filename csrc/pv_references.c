// SPDX-License-Identifier: Apache-2.0

#include "pv_references.h"

#include <stdlib.h>

// One lock for all tables: it is held for as long as it takes to walk a few entries, and can be held over a
// fork without a list of the tables there are.
#ifdef _WIN32
#include <windows.h>
static SRWLOCK mutex = SRWLOCK_INIT;
static void lock(void) { AcquireSRWLockExclusive(&mutex); }
static void unlock(void) { ReleaseSRWLockExclusive(&mutex); }
static PV_MUST_USE int hold_over_forks(void) { return 1; }  // there are none
#else
#include <pthread.h>
// On a default mutex that is used as it should be, none of these can fail on the platforms that CPython runs
// on.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static void lock(void) { (void)pthread_mutex_lock(&mutex); }
static void unlock(void) { (void)pthread_mutex_unlock(&mutex); }

static int is_held_over_forks;
static void register_handlers(void) { is_held_over_forks = pthread_atfork(lock, unlock, unlock) == 0; }

// hold_over_forks makes a fork wait for the lock. Of all threads only the one that forks goes on in the
// child: if another one had the lock then, nobody would be there to release it. It returns 0 if memory ran
// out.
static PV_MUST_USE int hold_over_forks(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  return pthread_once(&once, register_handlers) == 0 && is_held_over_forks;
}
#endif

#define BUCKETS 1024

struct pv_references {
  struct pv_reference *buckets[BUCKETS];
};

// bucket_of passes over the low bits, which are the same for all that malloc returns.
static struct pv_reference **bucket_of(struct pv_references *table, const void *connection) {
  uintptr_t address = (uintptr_t)connection;
  return &table->buckets[(address >> 4 ^ address >> 14) % BUCKETS];
}

struct pv_references *pv_references_new(void) {
  return hold_over_forks() ? calloc(1, sizeof(struct pv_references)) : NULL;
}

void pv_references_free(struct pv_references *table) { free(table); }

void pv_references_add(struct pv_references *table, struct pv_reference *reference) {
  struct pv_reference **bucket = bucket_of(table, reference->connection);
  lock();
  reference->next = *bucket;
  *bucket = reference;
  unlock();
}

void pv_references_remove(struct pv_references *table, const struct pv_reference *reference) {
  lock();
  struct pv_reference **link = bucket_of(table, reference->connection);
  while (*link != NULL && *link != reference) link = &(*link)->next;
  if (*link != NULL) *link = reference->next;
  unlock();
}

int pv_references_find(struct pv_references *table, const void *connection, struct pv_host *out_host) {
  lock();
  const struct pv_reference *reference = *bucket_of(table, connection);
  while (reference != NULL && reference->connection != connection) reference = reference->next;
  if (reference != NULL) *out_host = reference->host;
  unlock();
  return reference != NULL;
}
