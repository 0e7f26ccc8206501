// SPDX-License-Identifier: Apache-2.0

#include "pv_references.h"

#include <stdlib.h>

#ifdef _WIN32
#include <windows.h>
typedef SRWLOCK pv_mutex;
#define MUTEX_INITIALIZE(mutex) InitializeSRWLock(mutex)
#define MUTEX_DESTROY(mutex) ((void)(mutex))
#define MUTEX_LOCK(mutex) AcquireSRWLockExclusive(mutex)
#define MUTEX_UNLOCK(mutex) ReleaseSRWLockExclusive(mutex)
#else
#include <pthread.h>
typedef pthread_mutex_t pv_mutex;
// On a default mutex that is used as it should be, none of these can fail on the platforms that CPython runs
// on.
#define MUTEX_INITIALIZE(mutex) ((void)pthread_mutex_init(mutex, NULL))
#define MUTEX_DESTROY(mutex) ((void)pthread_mutex_destroy(mutex))
#define MUTEX_LOCK(mutex) ((void)pthread_mutex_lock(mutex))
#define MUTEX_UNLOCK(mutex) ((void)pthread_mutex_unlock(mutex))
#endif

#define BUCKETS 1024

struct pv_references {
  pv_mutex mutex;
  struct pv_reference *buckets[BUCKETS];
};

// bucket_of passes over the low bits, which are the same for all that malloc returns.
static struct pv_reference **bucket_of(struct pv_references *table, const void *connection) {
  uintptr_t address = (uintptr_t)connection;
  return &table->buckets[(address >> 4 ^ address >> 14) % BUCKETS];
}

struct pv_references *pv_references_new(void) {
  struct pv_references *table = calloc(1, sizeof *table);
  if (table != NULL) MUTEX_INITIALIZE(&table->mutex);
  return table;
}

void pv_references_free(struct pv_references *table) {
  if (table == NULL) return;
  MUTEX_DESTROY(&table->mutex);
  free(table);
}

void pv_references_add(struct pv_references *table, struct pv_reference *reference) {
  struct pv_reference **bucket = bucket_of(table, reference->connection);
  MUTEX_LOCK(&table->mutex);
  reference->next = *bucket;
  *bucket = reference;
  MUTEX_UNLOCK(&table->mutex);
}

void pv_references_remove(struct pv_references *table, const struct pv_reference *reference) {
  MUTEX_LOCK(&table->mutex);
  struct pv_reference **link = bucket_of(table, reference->connection);
  while (*link != NULL && *link != reference) link = &(*link)->next;
  if (*link != NULL) *link = reference->next;
  MUTEX_UNLOCK(&table->mutex);
}

int pv_references_find(struct pv_references *table, const void *connection, struct pv_host *out_host) {
  MUTEX_LOCK(&table->mutex);
  const struct pv_reference *reference = *bucket_of(table, connection);
  while (reference != NULL && reference->connection != connection) reference = reference->next;
  if (reference != NULL) *out_host = reference->host;
  MUTEX_UNLOCK(&table->mutex);
  return reference != NULL;
}
