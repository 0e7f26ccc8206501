// SPDX-License-Identifier: Apache-2.0
//
// The table of connections that have no server name, in one thread and in many.

#include "check.h"

#include <pthread.h>

#include "pv_references.h"

enum { THREADS = 8, ROUNDS = 50000, LIVE = 4 };

static struct pv_references *table;
// Their addresses are all that counts. One of each thread lies beside the other, so that the threads meet in
// the same buckets.
static char connections[LIVE][THREADS];
static pthread_barrier_t start;

static void name(struct pv_reference *reference, const void *connection, const char *text) {
  memset(reference, 0, sizeof *reference);
  reference->connection = connection;
  reference->host.len = (uint8_t)strlen(text);
  memcpy(reference->host.text, text, reference->host.len);
}

// finds says whether the table has |text| for |connection|; NULL stands for nothing, and then nothing may be
// written.
static int finds(const void *connection, const char *text) {
  struct pv_host host;
  memset(&host, 0x5a, sizeof host);
  if (pv_references_find(table, connection, &host)) return text != NULL && strcmp(host.text, text) == 0;
  return text == NULL && host.len == 0x5a && host.text[0] == 0x5a;
}

static void test_one_thread(void) {
  struct pv_reference first, later, other;
  name(&first, &connections[0][0], "192.0.2.1");
  name(&later, &connections[0][0], "::1");
  name(&other, &connections[0][1], "192.0.2.2");
  CHECK(finds(&connections[0][0], NULL));
  pv_references_add(table, &first);
  pv_references_add(table, &other);
  CHECK(finds(&connections[0][0], "192.0.2.1") && finds(&connections[0][1], "192.0.2.2"));
  pv_references_add(table, &later);  // the same connection again: the later entry counts
  CHECK(finds(&connections[0][0], "::1"));
  pv_references_remove(table, &first);
  CHECK(finds(&connections[0][0], "::1"));
  pv_references_remove(table, &first);  // is not there any more
  pv_references_remove(table, &later);
  CHECK(finds(&connections[0][0], NULL) && finds(&connections[0][1], "192.0.2.2"));
  pv_references_remove(table, &other);
  CHECK(finds(&connections[0][1], NULL));

  pv_references_add(table, &first);
  pv_references_add(table, &later);
  pv_references_remove(table, &later);
  CHECK(finds(&connections[0][0], "192.0.2.1"));
  pv_references_remove(table, &first);
  pv_references_remove(table, &later);  // does not bring back what was behind it
  CHECK(finds(&connections[0][0], NULL));
}

// Far more connections than buckets.
static void test_many(void) {
  enum { MANY = 20000 };
  static struct pv_reference references[MANY];
  static char far[MANY];
  char text[16];
  for (int i = 0; i < MANY; i++) {
    snprintf(text, sizeof text, "%d", i);
    name(&references[i], &far[i], text);
    pv_references_add(table, &references[i]);
  }
  for (int i = 0; i < MANY; i += 2) pv_references_remove(table, &references[i]);
  for (int i = 0; i < MANY; i++) {
    snprintf(text, sizeof text, "%d", i);
    CHECK(finds(&far[i], i % 2 ? text : NULL));
  }
  for (int i = 1; i < MANY; i += 2) pv_references_remove(table, &references[i]);
  CHECK(finds(&far[1], NULL));
}

// is_of says whether |connection| has no host just now, or a whole one of |thread|.
static int is_of(const void *connection, size_t thread) {
  struct pv_host host;
  if (!pv_references_find(table, connection, &host)) return 1;
  return host.text[0] == (char)('0' + thread) && strlen(host.text) == host.len;
}

// Each thread counts its own mistakes: CHECK does not count across threads. The rounds do little but use the
// table, or else the threads would seldom meet in it.
static void *use(void *argument) {
  size_t thread = (size_t)argument, other = (thread + 1) % THREADS, mistakes = 0;
  struct pv_reference references[LIVE];
  char texts[LIVE][8];
  for (int i = 0; i < LIVE; i++) {
    snprintf(texts[i], sizeof texts[i], "%zu-%d", thread, i);
    name(&references[i], &connections[i][thread], texts[i]);
  }
  pthread_barrier_wait(&start);
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < LIVE; i++) pv_references_add(table, &references[i]);
    for (int i = 0; i < LIVE; i++) {
      mistakes += !finds(&connections[i][thread], texts[i]);
      mistakes += !is_of(&connections[i][other], other);
      pv_references_remove(table, &references[i]);
      mistakes += !finds(&connections[i][thread], NULL);
    }
  }
  return (void *)mistakes;
}

static void test_many_threads(void) {
  pthread_t threads[THREADS];
  CHECK(pthread_barrier_init(&start, NULL, THREADS) == 0);
  for (size_t i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, use, (void *)i) == 0);
  for (size_t i = 0; i < THREADS; i++) {
    void *mistakes = NULL;
    CHECK(pthread_join(threads[i], &mistakes) == 0 && mistakes == NULL);
  }
  pthread_barrier_destroy(&start);
}

int main(void) {
  table = pv_references_new();
  CHECK(table != NULL);
  test_one_thread();
  test_many();
  test_many_threads();
  pv_references_free(table);
  pv_references_free(NULL);
  return check_summary();
}
