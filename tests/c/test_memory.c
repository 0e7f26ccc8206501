// SPDX-License-Identifier: Apache-2.0
//
// Memory that runs out. Each allocation of a build is made to fail in turn: the call that wanted it says so,
// what was there before stays good, nothing leaks (the leak checker looks, under the sanitizers), and nobody
// is accepted.

#include "check.h"

#include "pv_decide.h"
#include "pv_references.h"

// The linker puts these in place of malloc and calloc (see the Makefile).
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

static int allowed = -1;  // allocations until one fails; negative: all succeed

static int fails(void) { return allowed >= 0 && allowed-- == 0; }

void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }

void *__wrap_calloc(size_t count, size_t size) { return fails() ? NULL : __real_calloc(count, size); }

static uint8_t digests[4][32] = {{1}, {2}, {3}, {4}};

// build makes a policy of two entries, and returns 1 if no step of it failed. What could be made of it is in
// |*out_policy|.
static int build(struct pv_policy **out_policy) {
  *out_policy = pv_policy_new(2, 2, 20, PV_UNLISTED_DENY);
  if (*out_policy == NULL) return 0;
  int done = 1;
  for (uint32_t entry = 0; entry < 2; entry++) {
    for (int role = 0; role < 2; role++) {
      done &= pv_policy_set_pins(*out_policy, entry, role, PV_KIND_SPKI, digests[2 * role], 2, 42);
    }
  }
  done &= pv_policy_add_pattern(*out_policy, PV_MATCH_EXACT, "a.test", 6, 0);
  done &= pv_policy_add_pattern(*out_policy, PV_MATCH_ANY_DEPTH, "test", 4, 1);
  return done;
}

// is_consistent says whether each set of pins is either whole or empty.
static int is_consistent(const struct pv_policy *policy) {
  int consistent = 1;
  for (int entry = 0; entry < 2; entry++) {
    for (int role = 0; role < 2; role++) {
      const struct pv_pinset *set = &policy->entries[entry].pins[role][PV_KIND_SPKI];
      int first = pv_pinset_contains(set, digests[2 * role]),
          second = pv_pinset_contains(set, digests[2 * role + 1]);
      consistent &= first == second && first == (set->count == 2) && (set->count == 2 || set->starts == NULL);
    }
  }
  return consistent;
}

static void test_policy(void) {
  int steps = 0;
  for (int done = 0; !done; steps++) {
    struct pv_policy *policy = NULL;
    allowed = steps;
    done = build(&policy);
    CHECK(done == (allowed >= 0));  // a failure was told; and was there, if one was told
    allowed = -1;
    if (policy != NULL) {
      CHECK(is_consistent(policy));
      CHECK(pv_policy_find(policy, pv_slice_of("a.test", 6)) == 0);
      CHECK(!pv_decide(policy, pv_slice_of("a.test", 6), 0, NULL, 0).accepted);
    }
    pv_policy_free(policy);
  }
  CHECK(steps == 1 + 4 + 4 * 2);  // the four of pv_policy_new, two for each set of pins, and none failing
}

static void test_references(void) {
  allowed = 0;
  struct pv_references *table = pv_references_new();
  allowed = -1;
  CHECK(table == NULL);
}

int main(void) {
  test_policy();
  test_references();
  return check_summary();
}
