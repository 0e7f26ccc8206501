// SPDX-License-Identifier: Apache-2.0

#include "pv_decide.h"

#include "pv_sha256.h"

// settle puts down the verdict; the depth is that of the certificate at hand.
static void settle(struct pv_decision *decision, enum pv_reason reason) {
  decision->verdict.reason = reason;
  decision->verdict.depth = decision->depth;
}

// in_role says whether a digest of either kind is among the pins of |role|. The certificate is hashed only if
// there are pins on whole certificates.
static PV_MUST_USE int in_role(const struct pv_entry *entry, enum pv_role role, const uint8_t key[32],
                               pv_slice cert) {
  const struct pv_pinset *pins = entry->pins[role];
  if (pv_pinset_contains(&pins[PV_KIND_SPKI], key)) return 1;
  if (pins[PV_KIND_CERT].count == 0) return 0;
  uint8_t whole[PV_SHA256_SIZE];
  pv_sha256(cert.data, cert.len, whole);
  return pv_pinset_contains(&pins[PV_KIND_CERT], whole);
}

static PV_MUST_USE int denies(const struct pv_entry *entry) {
  return entry->pins[PV_ROLE_DENY][PV_KIND_SPKI].count + entry->pins[PV_ROLE_DENY][PV_KIND_CERT].count != 0;
}

int pv_decision_open(struct pv_decision *decision, const struct pv_policy *policy, pv_slice host,
                     int64_t now) {
  int32_t index = pv_policy_find(policy, host);
  *decision = (struct pv_decision){.verdict = {.reason = PV_INTERNAL, .entry = index, .depth = -1}};
  if (index < 0) {
    decision->verdict.reason = index == PV_UNLISTED_PKIX ? PV_UNLISTED_OK : PV_UNLISTED;
    return 0;
  }
  decision->entry = &policy->entries[index];
  if (now >= decision->entry->expires) {
    decision->verdict.reason = decision->entry->pkix_when_expired ? PV_EXPIRED_OK : PV_EXPIRED;
    return 0;
  }
  decision->verdict.reason = PV_CHAIN_LENGTH;  // stands if no certificate comes
  return 1;
}

int pv_decision_add(struct pv_decision *decision, pv_slice cert) {
  pv_slice spki;
  uint8_t key[PV_SHA256_SIZE];
  if (decision->depth == PV_MAX_CHAIN) {
    settle(decision, PV_CHAIN_LENGTH);
    return 0;
  }
  decision->verdict.status = pv_cert_spki(cert, &spki);
  if (decision->verdict.status != PV_OK) {
    settle(decision, PV_MALFORMED);
    return 0;
  }
  pv_sha256(spki.data, spki.len, key);
  if (in_role(decision->entry, PV_ROLE_DENY, key, cert)) {
    settle(decision, PV_DENIED);
    return 0;
  }
  if (decision->verdict.reason != PV_PINNED) {
    if (in_role(decision->entry, PV_ROLE_ALLOW, key, cert)) {
      settle(decision, PV_PINNED);
    } else {
      decision->verdict.reason = PV_NOT_PINNED;
    }
  }
  decision->depth++;
  return decision->verdict.reason != PV_PINNED || denies(decision->entry);
}

// is_violation tells the verdicts on pins, which report mode waives, from all else.
static PV_MUST_USE int is_violation(enum pv_reason reason) {
  return reason == PV_NOT_PINNED || reason == PV_DENIED || reason == PV_EXPIRED;
}

struct pv_verdict pv_decision_close(const struct pv_decision *decision) {
  struct pv_verdict verdict = decision->verdict;
  int reported = decision->entry != NULL && decision->entry->report_only && is_violation(verdict.reason);
  verdict.accepted = verdict.reason >= PV_PINNED || reported;
  return verdict;
}

struct pv_verdict pv_decide(const struct pv_policy *policy, pv_slice host, int64_t now, const pv_slice *chain,
                            size_t count) {
  struct pv_decision decision;
  int more = pv_decision_open(&decision, policy, host, now);
  for (size_t i = 0; more && i < count; i++) more = pv_decision_add(&decision, chain[i]);
  return pv_decision_close(&decision);
}
