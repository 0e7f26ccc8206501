// SPDX-License-Identifier: Apache-2.0
//
// Invariant of the decision, for any policy, host, time and chain: the verdict is that of the rule.
//
// - A host that no pattern covers, and an entry that has expired, settle it without the chain.
// - Certificates are looked at leaf first: all of them if the entry denies any pin, else up to the first one
//   with an allowed pin.
// - The first one of these that is number PV_MAX_CHAIN, malformed or denied refuses. Failing that, the first
//   one with an allowed pin accepts.
// - Report mode accepts NOT_PINNED, DENIED and EXPIRED, and nothing else.
// - Certificate by certificate the verdict is the same. No certificate is looked at after its turn, and until
//   the last turn nobody is accepted whom a later certificate could refuse.
//
// The oracle knows the pins as a list, and compares with each. Keys are found and hashed by pv_cert_spki and
// pv_sha256, which fuzz_cert and fuzz_openssl hold to account.

#include "fuzz.h"

#include "certificate.h"
#include "patterns.h"
#include "pv_decide.h"
#include "pv_sha256.h"

#define MOST_ENTRIES 3
#define MOST_PINS 4
#define MOST_CHAIN 40
#define MADE 12

static const char *const names[] = {"a", "b.a", "c.b.a", "d.c.b.a", "xa", "b", "a.b", ""};

struct pins {
  uint8_t digests[MOST_PINS][32];
  size_t count;
};

struct entry {
  int64_t expires;
  int pkix_when_expired, report_only;
  struct pins pins[2][2];  // by enum pv_role, then enum pv_kind
};

struct model {
  struct entry entries[MOST_ENTRIES];
  uint32_t entry_count;
  int32_t unlisted;
  struct patterns patterns;
};

// seen is what the oracle knows of one certificate.
struct seen {
  enum pv_status status;
  int allowed, denied;
};

// Certificates that differ in their key; the last two differ in their serial number from the first two, and
// have the same key.
static struct {
  uint8_t octets[128];
  pv_slice der;
  uint8_t digests[2][32];  // by enum pv_kind
} made[MADE];

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  pv_sha256_init();
  for (uint8_t i = 0; i < MADE; i++) {
    uint8_t key[] = {0x03, 0x02, 0x00, i % (MADE - 2)}, serial[] = {0x02, 0x01, i};
    pv_slice parts[PARTS], spki;
    memcpy(parts, minimal, sizeof parts);
    parts[SPKI_KEY] = pv_slice_of(key, sizeof key);
    parts[SERIAL] = pv_slice_of(serial, sizeof serial);
    made[i].der = pv_slice_of(made[i].octets, assemble(parts, made[i].octets, &spki));
    pv_sha256(spki.data, spki.len, made[i].digests[PV_KIND_SPKI]);
    pv_sha256(made[i].der.data, made[i].der.len, made[i].digests[PV_KIND_CERT]);
  }
  return 0;
}

// -- The input --

static int64_t time_from(pv_slice *in) {
  static const int64_t times[] = {1000, 999, 1001, 0, -1, INT64_MIN, PV_NEVER_EXPIRES};
  size_t choice = below(in, COUNT(times) + 1);
  return choice < COUNT(times) ? times[choice] : (int64_t)word(in);
}

// pins_from takes pins of made certificates: of the right kind or the other one, and some with one bit
// another.
static void pins_from(pv_slice *in, int kind, struct pins *out) {
  out->count = below(in, MOST_PINS + 1);
  for (size_t i = 0; i < out->count; i++) {
    uint8_t choice = octet(in);
    int other = (choice & 0x10) != 0;
    memcpy(out->digests[i], made[choice % MADE].digests[other ? 1 - kind : kind], 32);
    if ((choice & 0x80) == 0) continue;
    uint8_t bit = octet(in);
    out->digests[i][bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
}

static void entry_from(pv_slice *in, struct entry *out) {
  uint8_t flags = octet(in);
  out->report_only = flags & 1;
  out->pkix_when_expired = flags >> 1 & 1;
  out->expires = (flags & 4) == 0 ? PV_NEVER_EXPIRES : time_from(in);
  for (int set = 0; set < 4; set++) pins_from(in, set & 1, &out->pins[set >> 1][set & 1]);
}

static pv_slice name_from(pv_slice *in) {
  const char *name = names[below(in, COUNT(names))];
  return pv_slice_of(name, strlen(name));
}

static void model_from(pv_slice *in, struct model *out) {
  memset(out, 0, sizeof *out);
  out->entry_count = (uint32_t)below(in, MOST_ENTRIES) + 1;
  out->unlisted = (int32_t)below(in, out->entry_count + 2) - 2;
  for (uint32_t i = 0; i < out->entry_count; i++) entry_from(in, &out->entries[i]);
  for (size_t count = below(in, 6); count > 0; count--) {
    int match = (int)below(in, 3);
    pv_slice name = name_from(in);
    uint32_t entry = (uint32_t)below(in, out->entry_count);
    if (name.len != 0 && !has_pattern(&out->patterns, match, name)) {
      note_pattern(&out->patterns, match, name, entry);
    }
  }
}

// cert_from takes a made certificate, one with an octet changed, or octets as they stand in the input.
static struct copy cert_from(pv_slice *in) {
  uint8_t choice = octet(in);
  if (choice >= 0xf0) return copy_of(some(in, octet(in)));
  struct copy copy = copy_of(made[choice % MADE].der);
  if (choice >= 0xe0) {
    size_t at = octet(in) % copy.octets.len;
    copy.memory[1 + at] ^= octet(in);
  }
  return copy;
}

// -- The policy under test --

static struct pv_policy *policy_of(const struct model *model) {
  struct pv_policy *policy =
      pv_policy_new(model->entry_count, MOST_PATTERNS, MOST_PATTERNS * 8, model->unlisted);
  REQUIRE(policy != NULL);
  for (uint32_t i = 0; i < model->entry_count; i++) {
    const struct entry *entry = &model->entries[i];
    REQUIRE(pv_policy_set_entry(policy, i, entry->expires, entry->pkix_when_expired, entry->report_only));
    for (int set = 0; set < 4; set++) {
      const struct pins *pins = &entry->pins[set >> 1][set & 1];
      REQUIRE(pv_policy_set_pins(policy, i, set >> 1, set & 1, pins->digests[0], pins->count, 42));
    }
  }
  for (size_t i = 0; i < model->patterns.count; i++) {
    pv_slice name = model->patterns.list[i].name;
    REQUIRE(pv_policy_add_pattern(policy, model->patterns.list[i].match, (const char *)name.data, name.len,
                                  model->patterns.list[i].entry));
  }
  return policy;
}

// -- The oracle --

static int has_pin(const struct pins pins[2], const uint8_t key[32], const uint8_t cert[32]) {
  for (size_t i = 0; i < pins[PV_KIND_SPKI].count; i++) {
    if (memcmp(pins[PV_KIND_SPKI].digests[i], key, 32) == 0) return 1;
  }
  for (size_t i = 0; i < pins[PV_KIND_CERT].count; i++) {
    if (memcmp(pins[PV_KIND_CERT].digests[i], cert, 32) == 0) return 1;
  }
  return 0;
}

static struct seen look_at(const struct entry *entry, pv_slice cert) {
  pv_slice spki;
  uint8_t key[32], whole[32];
  struct seen seen = {.status = pv_cert_spki(cert, &spki)};
  if (seen.status != PV_OK) return seen;
  pv_sha256(spki.data, spki.len, key);
  pv_sha256(cert.data, cert.len, whole);
  seen.allowed = has_pin(entry->pins[PV_ROLE_ALLOW], key, whole);
  seen.denied = has_pin(entry->pins[PV_ROLE_DENY], key, whole);
  return seen;
}

// judge is the rule for the chain: reason, depth and status.
static void judge(const struct entry *entry, const pv_slice *chain, size_t count, struct pv_verdict *out) {
  struct seen seen[MOST_CHAIN];
  size_t pinned = count, trouble = 0, end = count;
  for (size_t i = 0; i < count; i++) seen[i] = look_at(entry, chain[i]);
  for (size_t i = count; i > 0; i--) {
    if (seen[i - 1].allowed) pinned = i - 1;
  }
  int denies = entry->pins[PV_ROLE_DENY][0].count + entry->pins[PV_ROLE_DENY][1].count != 0;
  if (!denies && pinned < count) end = pinned + 1;
  while (trouble < end && trouble < PV_MAX_CHAIN && seen[trouble].status == PV_OK && !seen[trouble].denied) {
    trouble++;
  }
  out->depth = (int32_t)trouble;
  out->status = PV_OK;
  if (count == 0) {
    out->reason = PV_CHAIN_LENGTH, out->depth = -1, out->status = PV_STATUS_UNSET;
  } else if (trouble == end && pinned < count) {
    out->reason = PV_PINNED, out->depth = (int32_t)pinned;
  } else if (trouble == end) {
    out->reason = PV_NOT_PINNED, out->depth = -1;
  } else if (trouble == PV_MAX_CHAIN) {
    out->reason = PV_CHAIN_LENGTH;
  } else if (seen[trouble].status != PV_OK) {
    out->reason = PV_MALFORMED, out->status = seen[trouble].status;
  } else {
    out->reason = PV_DENIED;
  }
}

static struct pv_verdict expected(const struct model *model, pv_slice host, int64_t now,
                                  const pv_slice *chain, size_t count) {
  struct pv_verdict verdict = {.depth = -1, .entry = search(&model->patterns, host, model->unlisted)};
  if (verdict.entry < 0) {
    verdict.reason = model->unlisted == PV_UNLISTED_PKIX ? PV_UNLISTED_OK : PV_UNLISTED;
    verdict.accepted = model->unlisted == PV_UNLISTED_PKIX;
    return verdict;
  }
  const struct entry *entry = &model->entries[verdict.entry];
  if (now >= entry->expires) {
    verdict.reason = entry->pkix_when_expired ? PV_EXPIRED_OK : PV_EXPIRED;
    verdict.accepted = entry->pkix_when_expired || entry->report_only;
    return verdict;
  }
  judge(entry, chain, count, &verdict);
  int waived = verdict.reason == PV_NOT_PINNED || verdict.reason == PV_DENIED;
  verdict.accepted = verdict.reason == PV_PINNED || (waived && entry->report_only);
  return verdict;
}

static void require_same(struct pv_verdict a, struct pv_verdict b) {
  REQUIRE(a.reason == b.reason);
  REQUIRE(a.accepted == b.accepted);
  REQUIRE(a.entry == b.entry);
  REQUIRE(a.depth == b.depth);
  REQUIRE(a.status == b.status);
}

// decide_stepwise hands the certificates in one at a time, each in memory that is gone when the next one
// comes. It frees them.
static struct pv_verdict decide_stepwise(const struct pv_policy *policy, pv_slice host, int64_t now,
                                         struct copy *chain, size_t count) {
  struct pv_decision decision;
  int more = pv_decision_open(&decision, policy, host, now);
  if (more) REQUIRE(!pv_decision_close(&decision).accepted);
  for (size_t i = 0; i < count; i++) {
    if (more) more = pv_decision_add(&decision, chain[i].octets);
    free(chain[i].memory);
  }
  return pv_decision_close(&decision);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct model model;
  struct copy copies[MOST_CHAIN];
  pv_slice chain[MOST_CHAIN], in = pv_slice_of(data, size);
  model_from(&in, &model);
  pv_slice host = name_from(&in);
  int64_t now = time_from(&in);
  size_t count = below(&in, MOST_CHAIN + 1);
  for (size_t i = 0; i < count; i++) {
    copies[i] = cert_from(&in);
    chain[i] = copies[i].octets;
  }
  struct pv_policy *policy = policy_of(&model);
  struct pv_verdict verdict = pv_decide(policy, host, now, chain, count);
  require_same(verdict, expected(&model, host, now, chain, count));
  require_same(verdict, decide_stepwise(policy, host, now, copies, count));
  pv_policy_free(policy);
  return 0;
}
