// SPDX-License-Identifier: Apache-2.0
//
// Shows under Valgrind what pv_ct.h and pv_pinset.h promise: no branch and no address depends on a pin. For
// Memcheck the pins are memory that was never written, and it complains of whatever depends on such memory.
//
// To be told of nothing proves little. So each function has a twin that does the same with a leak, and of
// which Memcheck must complain; if it does not, this program fails.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "certificate.h"
#include "pv_ct.h"
#include "pv_decide.h"
#include "pv_pinset.h"
#include "pv_sha256.h"

#define MOST 64  // digests of a set
#define DEPTH 4  // certificates of a chain
#define HOST "a.test"

static uint8_t digests[MOST + 1][32];  // one more, which is in no set

// hide makes memory secret, and reveal makes it public again. What is in it stays as it is.
static void hide(void *data, size_t len) { (void)VALGRIND_MAKE_MEM_UNDEFINED(data, len); }
static void reveal(void *data, size_t len) { (void)VALGRIND_MAKE_MEM_DEFINED(data, len); }

// must ends the program if a function, or its twin, gives a wrong answer: then it is not what it stands for.
static void must(int condition, const char *what) {
  if (condition) return;
  printf("FAILED: a wrong answer: %s\n", what);
  exit(1);
}

// -- Equality: both digests are secret, and only the result is public --

typedef uint32_t equality(const uint8_t *, const uint8_t *);

static uint32_t equal32(const uint8_t *a, const uint8_t *b) { return pv_ct_equal32(a, b); }

// Leaks where the digests part.
static uint32_t equal32_until_they_differ(const uint8_t *a, const uint8_t *b) {
  for (int i = 0; i < 32; i++) {
    if (a[i] != b[i]) return 0;
  }
  return 1;
}

// Leaks which entries of a table are read: no branch depends on the digests, but addresses do.
static uint32_t equal32_by_table(const uint8_t *a, const uint8_t *b) {
  static const volatile uint8_t is_zero[256] = {1};
  uint32_t same = 1;
  for (int i = 0; i < 32; i++) same &= is_zero[a[i] ^ b[i]];
  return same;
}

static uint32_t compare(equality *equal, const uint8_t *a, const uint8_t *b) {
  uint8_t left[32], right[32];
  memcpy(left, a, 32);
  memcpy(right, b, 32);
  hide(left, 32);
  hide(right, 32);
  uint32_t result = equal(left, right);
  reveal(&result, sizeof result);
  return result;
}

static void run_equality(equality *equal) {
  uint8_t other[32];
  memcpy(other, digests[0], 32);
  must(compare(equal, digests[0], other) == 1, "equality");
  must(compare(equal, digests[0], digests[1]) == 0, "equality");
  for (int bit = 0; bit < 256; bit++) {
    other[bit / 8] ^= (uint8_t)(1 << bit % 8);
    must(compare(equal, digests[0], other) == 0, "equality");
    other[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
}

static void run_equal32(void) { run_equality(equal32); }
static void run_until_they_differ(void) { run_equality(equal32_until_they_differ); }
static void run_by_table(void) { run_equality(equal32_by_table); }

// -- Membership: the digests of the set are secret; the presented one, which chooses the bucket, is not --

typedef int membership(const struct pv_pinset *, const uint8_t *);

// The linker leads all calls of pv_pinset_contains to the second of these (--wrap), and the first is the
// function itself: the core is tested as it is, without any marks in its source.
int __real_pv_pinset_contains(const struct pv_pinset *set, const uint8_t digest[32]);
int __wrap_pv_pinset_contains(const struct pv_pinset *set, const uint8_t digest[32]);

// Leaks how far into the bucket the match is.
static int contains_until_found(const struct pv_pinset *set, const uint8_t *digest) {
  if (set->count == 0) return 0;
  uint64_t word;
  memcpy(&word, digest, sizeof word);
  uint32_t bucket = (uint32_t)((word * set->key) >> 32 >> (32 - set->bits));
  for (uint32_t i = set->starts[bucket]; i < set->starts[bucket + 1]; i++) {
    if (pv_ct_equal32(set->digests[i], digest)) return 1;
  }
  return 0;
}

// look_up asks for each of |count| digests that the set is made of, and for one that is not in it.
static void look_up(membership *contains, const uint8_t (*members)[32], size_t count) {
  struct pv_pinset set;
  must(pv_pinset_build(members[0], count, 0x9e3779b97f4a7c15U, &set), "a set is built");
  if (count != 0) hide(set.digests, count * sizeof *set.digests);
  for (size_t i = 0; i <= count; i++) {
    int found = contains(&set, members[i]);
    reveal(&found, sizeof found);
    must(found == (i < count), "membership");
  }
  pv_pinset_free(&set);
}

static void run_membership(membership *contains) {
  static const size_t counts[] = {0, 1, 2, 3, MOST};
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) look_up(contains, digests, counts[i]);
  uint8_t alike[MOST + 1][32];  // all in one bucket, which the first eight octets choose
  memcpy(alike, digests, sizeof alike);
  for (size_t i = 0; i <= MOST; i++) memset(alike[i], 0x5a, 8);
  look_up(contains, alike, MOST);
}

static void run_contains(void) { run_membership(__real_pv_pinset_contains); }
static void run_until_found(void) { run_membership(contains_until_found); }

// -- The decision: all pins of the policy are secret; whether a certificate has one of them is public --

static int reveals = 1;

int __wrap_pv_pinset_contains(const struct pv_pinset *set, const uint8_t digest[32]) {
  int found = __real_pv_pinset_contains(set, digest);
  if (reveals) reveal(&found, sizeof found);
  return found;
}

static uint8_t octets[DEPTH][128];
static pv_slice chain[DEPTH];
static uint8_t pins[DEPTH][2][32];  // by depth, then enum pv_kind

static void make_chain(void) {
  for (uint8_t i = 0; i < DEPTH; i++) {
    const uint8_t key[] = {0x03, 0x02, 0x00, i};
    pv_slice parts[PARTS], spki;
    memcpy(parts, minimal, sizeof parts);
    parts[SPKI_KEY] = pv_slice_of(key, sizeof key);
    chain[i] = pv_slice_of(octets[i], assemble(parts, octets[i], &spki));
    pv_sha256(spki.data, spki.len, pins[i][PV_KIND_SPKI]);
    pv_sha256(chain[i].data, chain[i].len, pins[i][PV_KIND_CERT]);
  }
}

// set_pins gives the policy's entry a certificate's pin among others, and makes secret what is stored.
static void set_pins(struct pv_policy *policy, int role, int kind, const uint8_t pin[32]) {
  uint8_t all[8][32];
  memcpy(all, digests, sizeof all);
  memcpy(all[3], pin, 32);
  must(pv_policy_set_pins(policy, 0, role, kind, all[0], 8, 0x9e3779b97f4a7c15U), "pins are set");
  struct pv_pinset *set = &policy->entries[0].pins[role][kind];
  hide(set->digests, set->count * sizeof *set->digests);
}

static void decide(int depth, int kind, int denies) {
  struct pv_policy *policy = pv_policy_new(1, 1, strlen(HOST), PV_UNLISTED_DENY);
  must(policy != NULL && pv_policy_add_pattern(policy, PV_MATCH_EXACT, HOST, strlen(HOST), 0), "a policy");
  set_pins(policy, PV_ROLE_ALLOW, kind, denies ? pins[0][kind] : pins[depth][kind]);
  set_pins(policy, PV_ROLE_DENY, 1 - kind, denies ? pins[depth][1 - kind] : digests[MOST]);
  struct pv_verdict verdict = pv_decide(policy, pv_slice_of(HOST, strlen(HOST)), 0, chain, DEPTH);
  must(verdict.reason == (denies ? PV_DENIED : PV_PINNED) && verdict.depth == depth, "the decision");
  verdict = pv_decide(policy, pv_slice_of(HOST, strlen(HOST)), 0, chain, (size_t)depth);
  must(verdict.reason == (depth == 0 ? PV_CHAIN_LENGTH : denies ? PV_PINNED : PV_NOT_PINNED), "the decision");
  pv_policy_free(policy);
}

static void run_decisions(void) {
  for (int depth = 0; depth < DEPTH; depth++) {
    for (int kind = 0; kind < 2; kind++) {
      for (int denies = 0; denies < 2; denies++) decide(depth, kind, denies);
    }
  }
}

// The decision branches on whether there was a match. Where that is not revealed, Memcheck must complain.
static void run_unrevealed(void) {
  reveals = 0;
  run_decisions();
  reveals = 1;
}

// -- The table --

static const struct {
  const char *name;
  void (*run)(void);
  int leaks;
} cases[] = {
    {"equal32", run_equal32, 0},       {"contains", run_contains, 0},
    {"decide", run_decisions, 0},      {"| twins: until they differ", run_until_they_differ, 1},
    {"by table", run_by_table, 1},     {"until found", run_until_found, 1},
    {"unrevealed", run_unrevealed, 1},
};

// complaints returns how many there were while a case ran.
static unsigned complaints(void (*run)(void)) {
  unsigned before = VALGRIND_COUNT_ERRORS;
  run();
  return VALGRIND_COUNT_ERRORS - before;
}

int main(int argc, char **argv) {
  if (argc != 2 || !RUNNING_ON_VALGRIND) {
    printf("usage: valgrind %s TITLE\n", argv[0]);
    return 2;
  }
  pv_sha256_init();
  for (uint32_t i = 0; i <= MOST; i++) pv_sha256((const uint8_t *)&i, sizeof i, digests[i]);
  make_chain();
  int failed = 0;
  printf("%-10s", argv[1]);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    unsigned count = complaints(cases[i].run);
    int as_expected = (count != 0) == cases[i].leaks;
    printf("  %s %u%s", cases[i].name, count, as_expected ? "" : " FAILED");
    failed |= !as_expected;
  }
  printf("\n");
  return failed;
}
