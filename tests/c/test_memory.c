// SPDX-License-Identifier: Apache-2.0
//
// Memory that runs out. Each allocation of a build is made to fail in turn: the
// call that wanted it says so and changes nothing, what was there before stays
// good, nothing leaks, and nobody is accepted until the call has been made
// again with success.

#include "check.h"

#include "certificate.h"
#include "pv_decide.h"
#include "pv_guard.h"
#include "pv_references.h"
#include "pv_sha256.h"

// The linker puts these in place of the allocator (see the Makefile).
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);

static int allowed = -1;  // allocations until one fails; negative: all succeed
static int failed,
    live;  // allocations that failed, and blocks that are not freed yet

static int fails(void) {
  if (allowed < 0 || allowed-- != 0) return 0;
  return ++failed;
}

static void *count(void *block) {
  live += block != NULL;
  return block;
}

void *__wrap_malloc(size_t size) { return fails() ? NULL : count(__real_malloc(size)); }

void *__wrap_calloc(size_t number, size_t size) {
  return fails() ? NULL : count(__real_calloc(number, size));
}

void *__wrap_realloc(void *block, size_t size) {
  if (fails()) return NULL;
  live -= block != NULL;
  return count(__real_realloc(block, size));
}

void __wrap_free(void *block) {
  live -= block != NULL;
  __real_free(block);
}

// each_failure runs |build| with its first allocation failing, then its second,
// and so on until it needs no more. It returns how many there are.
static int each_failure(void (*build)(void)) {
  for (int n = 0;; n++) {
    allowed = n;
    failed = 0;
    build();
    allowed = -1;
    CHECK(live == 0);
    if (!failed) return n;
  }
}

// tried checks that a call with this result failed if, and only if, an
// allocation did since there were |before| failures.
static int tried(int result, int before) {
  CHECK(result == (failed == before));
  return result;
}

static struct {
  uint8_t octets[128];
  pv_slice der;
  uint8_t digests[2][32];  // by enum pv_kind
} cert;

static void make_certificate(void) {
  pv_slice spki;
  cert.der = pv_slice_of(cert.octets, assemble(minimal, cert.octets, &spki));
  pv_sha256(spki.data, spki.len, cert.digests[PV_KIND_SPKI]);
  pv_sha256(cert.der.data, cert.der.len, cert.digests[PV_KIND_CERT]);
}

static int accepts(const struct pv_policy *policy, const char *host) {
  return pv_decide(policy, pv_slice_of(host, strlen(host)), 0, &cert.der, 1).accepted;
}

// set_pins gives an entry two pins, again if memory ran out. In between,
// nothing may be there.
static void set_pins(struct pv_policy *policy, uint32_t entry, int role, int kind) {
  uint8_t digests[2][32] = {{0}};
  const struct pv_pinset *set = &policy->entries[entry].pins[role][kind];
  if (role == PV_ROLE_ALLOW) memcpy(digests[1], cert.digests[kind], 32);
  int before = failed;
  if (!tried(pv_policy_set_pins(policy, entry, role, kind, digests[0], 2, 42), before)) {
    CHECK(set->count == 0 && set->starts == NULL && set->digests == NULL);
    CHECK(pv_policy_set_pins(policy, entry, role, kind, digests[0], 2, 42));
  }
  CHECK(set->count == 2 && pv_pinset_contains(set, digests[0]) && pv_pinset_contains(set, digests[1]));
}

// Two hosts, held to a pin on the key and on the certificate; and what they
// deny is another's.
static void build_policy(void) {
  struct pv_policy *policy = pv_policy_new(2, 2, 20, PV_UNLISTED_DENY);
  if (!tried(policy != NULL, 0)) return;
  int before = failed;
  CHECK(pv_policy_add_pattern(policy, PV_MATCH_EXACT, "a.test", 6, 0));
  CHECK(pv_policy_add_pattern(policy, PV_MATCH_ANY_DEPTH, "test", 4, 1));
  CHECK(pv_policy_set_entry(policy, 1, 1, 0, 0));
  CHECK(failed == before);  // none of these allocates
  for (uint32_t entry = 0; entry < 2; entry++) {
    const char *host = entry == 0 ? "a.test" : "b.test";
    int kind = entry == 0 ? PV_KIND_SPKI : PV_KIND_CERT;
    set_pins(policy, entry, PV_ROLE_DENY, kind);
    CHECK(!accepts(policy, host));
    set_pins(policy, entry, PV_ROLE_ALLOW, kind);
    CHECK(accepts(policy, host));
  }
  CHECK(!accepts(policy, "a.example"));
  pv_policy_free(policy);
}

static void build_references(void) {
  struct pv_references *table = pv_references_new();
  if (!tried(table != NULL, 0)) return;
  pv_references_free(table);
}

static void build_guard(void) {
  struct pv_guard *guard = pv_guard_new(NULL, NULL, 0, 0, NULL, NULL);
  if (!tried(guard != NULL, 0)) return;
  pv_guard_free(guard);
}

// What runs in a handshake allocates nothing, so that no lack of memory can
// change a verdict.
static void test_no_allocation(void) {
  struct pv_host host;
  struct pv_reference reference = {.connection = &host};
  struct pv_references *table = pv_references_new();
  struct pv_policy *policy = pv_policy_new(1, 1, 6, PV_UNLISTED_DENY);
  CHECK(policy != NULL && pv_policy_add_pattern(policy, PV_MATCH_EXACT, "a.test", 6, 0));
  set_pins(policy, 0, PV_ROLE_ALLOW, PV_KIND_CERT);
  allowed = failed = 0;
  CHECK(accepts(policy, "a.test") && !accepts(policy, "b.test"));
  CHECK(pv_host_from_sni(pv_slice_of("a.test", 6), &host));
  pv_references_add(table, &reference);
  CHECK(pv_references_find(table, &host, &host));
  pv_references_remove(table, &reference);
  CHECK(allowed == 0 && failed == 0);
  allowed = -1;
  pv_references_free(table);
  pv_policy_free(policy);
  CHECK(live == 0);
}

int main(void) {
  make_certificate();
  CHECK(each_failure(build_policy) == 4 + 4 * 2);  // of pv_policy_new, and of each set of pins
  CHECK(each_failure(build_references) == 1);
  CHECK(each_failure(build_guard) == 2);
  test_no_allocation();
  return check_summary();
}
