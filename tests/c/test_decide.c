// SPDX-License-Identifier: Apache-2.0
//
// The decision: every depth, every bit of a pin, every border of an entry.

#include "check.h"

#include "certificate.h"
#include "pv_decide.h"
#include "pv_sha256.h"

#define HOST "a.test"
#define MOST 200
#define NOW 1000

// Certificates that differ in their key, and the two digests of each.
static struct {
  uint8_t octets[128];
  pv_slice der;
  uint8_t digests[2][32];  // by enum pv_kind
} certs[MOST];

static const pv_slice malformed = OCTETS("\x30\x00");

static void make_certificates(void) {
  for (uint8_t i = 0; i < MOST; i++) {
    uint8_t key[] = {0x03, 0x02, 0x00, i};
    pv_slice parts[PARTS], spki;
    memcpy(parts, minimal, sizeof parts);
    parts[SPKI_KEY] = pv_slice_of(key, sizeof key);
    certs[i].der = pv_slice_of(certs[i].octets, assemble(parts, certs[i].octets, &spki));
    pv_sha256(spki.data, spki.len, certs[i].digests[PV_KIND_SPKI]);
    pv_sha256(certs[i].der.data, certs[i].der.len, certs[i].digests[PV_KIND_CERT]);
  }
}

// policy_of makes a policy of one host, without pins.
static struct pv_policy *policy_of(void) {
  struct pv_policy *policy = pv_policy_new(1, 1, sizeof HOST, PV_UNLISTED_DENY);
  CHECK(policy != NULL && pv_policy_add_pattern(policy, PV_MATCH_EXACT, HOST, strlen(HOST), 0));
  return policy;
}

static void pin(struct pv_policy *policy, int role, int kind, const uint8_t digest[32]) {
  CHECK(pv_policy_set_pins(policy, 0, role, kind, digest, 1, 42));
}

// decide asks about a chain of the certificates with these numbers; -1 is a malformed one. It asks twice: the
// second time each certificate ends at a page that is not mapped, and is gone when the next one comes.
static struct pv_verdict decide_at(const struct pv_policy *policy, const int *numbers, size_t count,
                                   int64_t now) {
  static pv_slice chain[MOST];
  const pv_slice host = pv_slice_of(HOST, strlen(HOST));
  for (size_t i = 0; i < count; i++) chain[i] = numbers[i] < 0 ? malformed : certs[numbers[i]].der;
  struct pv_verdict verdict = pv_decide(policy, host, now, chain, count);
  struct pv_decision decision;
  int more = pv_decision_open(&decision, policy, host, now);
  for (size_t i = 0; more && i < count; i++) {
    more = pv_decision_add(&decision, pv_slice_of(guarded(chain[i].data, chain[i].len), chain[i].len));
  }
  struct pv_verdict again = pv_decision_close(&decision);
  CHECK(memcmp(&verdict, &again, sizeof verdict) == 0);
  return verdict;
}

static struct pv_verdict decide(const struct pv_policy *policy, const int *numbers, size_t count) {
  return decide_at(policy, numbers, count, NOW);
}

// is compares a verdict with what it should be.
static int is(struct pv_verdict verdict, enum pv_reason reason, int accepted, int32_t depth) {
  return verdict.reason == reason && verdict.accepted == accepted && verdict.depth == depth;
}

static const int in_order[] = {0, 1, 2, 3, 4};

static void test_each_depth(void) {
  for (int kind = 0; kind < 2; kind++) {
    for (int depth = 0; depth < 5; depth++) {
      struct pv_policy *policy = policy_of();
      pin(policy, PV_ROLE_ALLOW, kind, certs[depth].digests[kind]);
      CHECK(is(decide(policy, in_order, 5), PV_PINNED, 1, depth));
      CHECK(is(decide(policy, in_order, (size_t)depth), depth ? PV_NOT_PINNED : PV_CHAIN_LENGTH, 0, -1));
      pv_policy_free(policy);
      policy = policy_of();  // the same digest as the other kind is another pin
      pin(policy, PV_ROLE_ALLOW, 1 - kind, certs[depth].digests[kind]);
      CHECK(is(decide(policy, in_order, 5), PV_NOT_PINNED, 0, -1));
      pv_policy_free(policy);
    }
  }
}

// decides asks about the first |depth| + 1 certificates of a chain; only the last of them can be pinned.
static int decides(const struct pv_policy *policy, const pv_slice *chain, int depth, enum pv_reason reason) {
  const pv_slice host = pv_slice_of(HOST, strlen(HOST));
  struct pv_verdict verdict = pv_decide(policy, host, NOW, chain, (size_t)depth + 1);
  return is(verdict, reason, reason == PV_PINNED, reason == PV_NOT_PINNED ? -1 : depth);
}

// A digest that differs in one bit is another pin, allowed or denied, whatever the certificate's depth.
static void check_bit(const pv_slice *chain, int depth, int kind, int bit) {
  uint8_t digest[32];
  memcpy(digest, certs[depth].digests[kind], 32);
  digest[bit / 8] ^= (uint8_t)(1 << bit % 8);
  struct pv_policy *policy = policy_of();
  pin(policy, PV_ROLE_ALLOW, kind, digest);
  CHECK(decides(policy, chain, depth, PV_NOT_PINNED));
  pin(policy, PV_ROLE_DENY, kind, digest);
  pin(policy, PV_ROLE_ALLOW, 1 - kind, certs[depth].digests[1 - kind]);
  CHECK(decides(policy, chain, depth, PV_PINNED));
  pin(policy, PV_ROLE_DENY, 1 - kind, certs[depth].digests[1 - kind]);
  CHECK(decides(policy, chain, depth, PV_DENIED));
  pv_policy_free(policy);
}

static void test_each_bit_at_each_depth(void) {
  pv_slice chain[PV_MAX_CHAIN];
  for (int i = 0; i < PV_MAX_CHAIN; i++) chain[i] = certs[i].der;
  for (int depth = 0; depth < PV_MAX_CHAIN; depth++) {
    for (int kind = 0; kind < 2; kind++) {
      for (int bit = 0; bit < 256; bit++) check_bit(chain, depth, kind, bit);
    }
  }
}

enum { NONE = 5, ELSEWHERE };  // past the chain's five certificates; ELSEWHERE there is a pin nevertheless

// expected is the rule: a certificate is looked at unless one ahead of it settles the verdict, and a denied
// or malformed one refuses wherever it is looked at.
static struct pv_verdict expected(int allowed, int denied, int bad) {
  struct pv_verdict verdict = {.reason = PV_NOT_PINNED, .depth = -1};
  if (denied == NONE && allowed < bad) {
    verdict.reason = PV_PINNED, verdict.depth = allowed;
  } else if (bad < NONE && bad <= denied) {
    verdict.reason = PV_MALFORMED, verdict.depth = bad;
  } else if (denied < NONE) {
    verdict.reason = PV_DENIED, verdict.depth = denied;
  } else if (allowed < NONE) {
    verdict.reason = PV_PINNED, verdict.depth = allowed;
  }
  return verdict;
}

static void check_order(int allowed, int denied, int bad, int kinds) {
  int chain[] = {0, 1, 2, 3, 4, -1}, allow_kind = kinds & 1, deny_kind = kinds >> 1;
  struct pv_policy *policy = policy_of();
  if (allowed != NONE) pin(policy, PV_ROLE_ALLOW, allow_kind, certs[allowed].digests[allow_kind]);
  if (denied != NONE) pin(policy, PV_ROLE_DENY, deny_kind, certs[denied].digests[deny_kind]);
  chain[bad] = -1;
  struct pv_verdict want = expected(allowed, denied, bad);
  enum pv_status status = want.reason == PV_MALFORMED ? PV_BAD_TBS : PV_OK;
  CHECK(is(decide(policy, chain, 5), want.reason, want.reason == PV_PINNED, want.depth));
  CHECK(decide(policy, chain, 5).status == status);
  CHECK(pv_policy_set_entry(policy, 0, PV_NEVER_EXPIRES, 0, 1));  // report mode waives the pins alone
  CHECK(is(decide(policy, chain, 5), want.reason, want.reason != PV_MALFORMED, want.depth));
  pv_policy_free(policy);
}

// An allowed, a denied and a malformed certificate in every order, each of them there or not.
static void test_each_order(void) {
  for (int allowed = 0; allowed <= NONE; allowed++) {
    for (int denied = 0; denied <= ELSEWHERE; denied++) {
      for (int bad = 0; bad <= NONE; bad++) {
        for (int kinds = 0; kinds < 4; kinds++) check_order(allowed, denied, bad, kinds);
      }
    }
  }
}

// Without denied keys nothing is looked at behind the first pinned certificate; with them, all is.
static void test_how_far_it_looks(void) {
  static const int chain[] = {0, 1, -1};
  struct pv_policy *policy = policy_of();
  struct pv_decision decision;
  pin(policy, PV_ROLE_ALLOW, PV_KIND_SPKI, certs[1].digests[PV_KIND_SPKI]);
  CHECK(pv_decision_open(&decision, policy, pv_slice_of(HOST, strlen(HOST)), NOW));
  CHECK(!pv_decision_close(&decision).accepted);
  CHECK(pv_decision_add(&decision, certs[0].der));
  CHECK(!pv_decision_close(&decision).accepted);
  CHECK(!pv_decision_add(&decision, certs[1].der));
  CHECK(is(pv_decision_close(&decision), PV_PINNED, 1, 1));
  CHECK(is(decide(policy, chain, 3), PV_PINNED, 1, 1));
  pin(policy, PV_ROLE_DENY, PV_KIND_SPKI, certs[9].digests[PV_KIND_SPKI]);
  CHECK(is(decide(policy, chain, 3), PV_MALFORMED, 0, 2));
  CHECK(decide(policy, chain, 3).status == PV_BAD_TBS);
  CHECK(is(decide(policy, chain, 2), PV_PINNED, 1, 1));
  pv_policy_free(policy);
}

// Certificate number PV_MAX_CHAIN is one too many, if it has to be looked at.
static void test_chain_length(void) {
  int numbers[MOST + 1] = {MOST - 2}, *chain = numbers + 1;
  for (int i = 0; i < MOST; i++) chain[i] = i;
  for (int denies = 0; denies < 2; denies++) {
    const int last = PV_MAX_CHAIN - 1;
    struct pv_policy *policy = policy_of();
    pin(policy, PV_ROLE_ALLOW, PV_KIND_SPKI, certs[last].digests[PV_KIND_SPKI]);
    if (denies) pin(policy, PV_ROLE_DENY, PV_KIND_SPKI, certs[MOST - 1].digests[PV_KIND_SPKI]);
    CHECK(is(decide(policy, chain, 0), PV_CHAIN_LENGTH, 0, -1));
    CHECK(is(decide(policy, chain, PV_MAX_CHAIN - 1), PV_NOT_PINNED, 0, -1));
    CHECK(is(decide(policy, chain, PV_MAX_CHAIN), PV_PINNED, 1, last));
    for (size_t count = PV_MAX_CHAIN + 1; count <= MOST; count++) {
      struct pv_verdict verdict = decide(policy, chain, count);
      CHECK(denies ? is(verdict, PV_CHAIN_LENGTH, 0, PV_MAX_CHAIN) : is(verdict, PV_PINNED, 1, last));
      CHECK(is(decide(policy, numbers, count), PV_CHAIN_LENGTH, 0, PV_MAX_CHAIN));  // pinned one place on
    }
    pv_policy_free(policy);
  }
}

static void test_expiry(void) {
  for (int pkix = 0; pkix < 2; pkix++) {
    struct pv_policy *policy = policy_of();
    pin(policy, PV_ROLE_ALLOW, PV_KIND_SPKI, certs[0].digests[PV_KIND_SPKI]);
    CHECK(pv_policy_set_entry(policy, 0, NOW + 1, pkix, 0));
    CHECK(is(decide(policy, in_order, 1), PV_PINNED, 1, 0));
    CHECK(pv_policy_set_entry(policy, 0, NOW, pkix, 0));  // from that second on
    CHECK(is(decide(policy, in_order, 1), pkix ? PV_EXPIRED_OK : PV_EXPIRED, pkix, -1));
    CHECK(pv_policy_set_entry(policy, 0, INT64_MIN, pkix, 0));
    CHECK(is(decide(policy, in_order, 0), pkix ? PV_EXPIRED_OK : PV_EXPIRED, pkix, -1));
    CHECK(pv_policy_set_entry(policy, 0, PV_NEVER_EXPIRES, pkix, 0));
    CHECK(is(decide_at(policy, in_order, 1, INT64_MAX - 1), PV_PINNED, 1, 0));
    pv_policy_free(policy);
  }
}

static void test_unlisted(void) {
  static const struct {
    int32_t unlisted;
    enum pv_reason reason;
    int accepted;
  } cases[] = {
      {PV_UNLISTED_DENY, PV_UNLISTED, 0}, {PV_UNLISTED_PKIX, PV_UNLISTED_OK, 1}, {0, PV_NOT_PINNED, 0}};
  for (size_t i = 0; i < 3; i++) {
    struct pv_policy *policy = pv_policy_new(1, 0, 0, cases[i].unlisted);
    CHECK(is(decide(policy, in_order, 5), cases[i].reason, cases[i].accepted, -1));
    CHECK(decide(policy, in_order, 5).entry == cases[i].unlisted);
    pv_policy_free(policy);
  }
}

// Each host is held to its own entry's pins, and the unlisted ones to theirs.
static void test_which_entry(void) {
  struct pv_policy *policy = pv_policy_new(2, 1, sizeof HOST, 0);
  CHECK(policy != NULL && pv_policy_add_pattern(policy, PV_MATCH_EXACT, HOST, strlen(HOST), 1));
  for (uint32_t i = 0; i < 2; i++) {
    CHECK(pv_policy_set_pins(policy, i, PV_ROLE_ALLOW, PV_KIND_SPKI, certs[i].digests[PV_KIND_SPKI], 1, 42));
  }
  for (int32_t i = 0; i < 2; i++) {
    pv_slice host = pv_slice_of(i == 1 ? HOST : "b.test", 6);
    struct pv_verdict verdict = pv_decide(policy, host, NOW, &certs[i].der, 1);
    CHECK(is(verdict, PV_PINNED, 1, 0) && verdict.entry == i);
    verdict = pv_decide(policy, host, NOW, &certs[1 - i].der, 1);
    CHECK(is(verdict, PV_NOT_PINNED, 0, -1) && verdict.entry == i);
  }
  pv_policy_free(policy);
}

// Report mode accepts what violates the pins, with its reason; and nothing else.
static void test_report_mode(void) {
  static const int bad[] = {-1}, too_many[PV_MAX_CHAIN + 1] = {0};
  struct pv_policy *policy = policy_of();
  pin(policy, PV_ROLE_ALLOW, PV_KIND_SPKI, certs[0].digests[PV_KIND_SPKI]);
  pin(policy, PV_ROLE_DENY, PV_KIND_SPKI, certs[1].digests[PV_KIND_SPKI]);
  CHECK(pv_policy_set_entry(policy, 0, PV_NEVER_EXPIRES, 0, 1));
  CHECK(is(decide(policy, in_order, 1), PV_PINNED, 1, 0));
  CHECK(is(decide(policy, in_order + 2, 3), PV_NOT_PINNED, 1, -1));
  CHECK(is(decide(policy, in_order, 5), PV_DENIED, 1, 1));
  CHECK(is(decide(policy, bad, 1), PV_MALFORMED, 0, 0));
  CHECK(is(decide(policy, in_order, 0), PV_CHAIN_LENGTH, 0, -1));
  CHECK(is(decide(policy, too_many, PV_MAX_CHAIN + 1), PV_CHAIN_LENGTH, 0, PV_MAX_CHAIN));
  CHECK(pv_policy_set_entry(policy, 0, NOW, 0, 1));
  CHECK(is(decide(policy, in_order, 1), PV_EXPIRED, 1, -1));
  pv_policy_free(policy);
}

// Of all reasons, also those that a chain never gives, these accept: as they are, and in report mode.
static void test_each_reason(void) {
#define ACCEPTING [PV_PINNED] = 1, [PV_UNLISTED_OK] = 1, [PV_EXPIRED_OK] = 1, [PV_RESUMED] = 1
  static const int accepted[2][PV_REASON_COUNT] = {
      {ACCEPTING}, {ACCEPTING, [PV_NOT_PINNED] = 1, [PV_DENIED] = 1, [PV_EXPIRED] = 1}};
  for (int i = 0; i < 2 * PV_REASON_COUNT; i++) {
    struct pv_entry entry = {.report_only = i & 1};
    struct pv_decision decision = {.verdict = {.reason = (enum pv_reason)(i >> 1)}, .entry = &entry};
    CHECK(pv_decision_close(&decision).accepted == accepted[i & 1][i >> 1]);
  }
}

static void test_nothing_accepts_nobody(void) {
  struct pv_decision decision;
  struct pv_policy *policy = policy_of();
  memset(&decision, 0, sizeof decision);
  CHECK(decision.verdict.reason == PV_INTERNAL && !decision.verdict.accepted);
  CHECK(is(pv_decision_close(&decision), PV_INTERNAL, 0, 0));
  CHECK(is(decide(policy, in_order, 5), PV_NOT_PINNED, 0, -1));  // an entry without pins
  pv_policy_free(policy);
}

int main(void) {
  make_certificates();
  test_each_depth();
  test_each_bit_at_each_depth();
  test_each_order();
  test_how_far_it_looks();
  test_chain_length();
  test_expiry();
  test_unlisted();
  test_which_entry();
  test_report_mode();
  test_each_reason();
  test_nothing_accepts_nobody();
  return check_summary();
}
