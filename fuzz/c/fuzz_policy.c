// SPDX-License-Identifier: Apache-2.0
//
// Invariant of the policy table, for any order of calls that its header allows:
//
// - pv_policy_find gives the entry of the most specific pattern that a search through all patterns finds, or
//   |unlisted|.
// - A pattern is added if and only if it is new, its match, name and entry exist, and there is room for it
//   and its name.
// - The fields of an entry are those of the last pv_policy_set_entry. Its pins are those of the first
//   pv_policy_set_pins of that role and kind that had any; a digest is in such a set if and only if it is one
//   of them.
// - What fails changes nothing.
// - Names and digests are copied: theirs are gone when the call has returned.

#include "fuzz.h"
#include "patterns.h"
#include "pv_pinset.h"
#include "pv_policy.h"

#define MOST_ENTRIES 4
#define MOST_PINS 16

// model is what the policy should hold.
struct model {
  uint32_t entry_count;
  size_t pattern_room, names_room;
  int32_t unlisted;
  int plain;  // 1: names are made of a, b and dots, so that they often meet or end in one another
  struct patterns patterns;
  struct {
    int64_t expires;
    int pkix_when_expired, report_only;
    size_t counts[2][2];
    uint8_t pins[2][2][MOST_PINS][32];
  } entries[MOST_ENTRIES];
  uint8_t *names;  // those of |patterns|
  size_t names_len;
};

// name_from takes a name out of the input and puts it in |room|, which has space for 24 octets.
static pv_slice name_from(pv_slice *in, int plain, uint8_t *room) {
  size_t len = below(in, 24);
  for (size_t i = 0; i < len; i++) {
    uint8_t c = octet(in);
    room[i] = plain ? (uint8_t) "ab."[c % 3] : c;
  }
  return pv_slice_of(room, len);
}

static void check_find(const struct model *model, const struct pv_policy *policy, pv_slice host) {
  struct copy copy = copy_of(host);
  REQUIRE(pv_policy_find(policy, copy.octets) == search(&model->patterns, host, model->unlisted));
  free(copy.memory);
}

static void add_pattern(struct model *model, struct pv_policy *policy, pv_slice *in) {
  uint8_t room[24];
  int match = (int)below(in, 5) - 1;
  uint32_t entry = (uint32_t)below(in, MOST_ENTRIES + 2);
  struct copy copy = copy_of(name_from(in, model->plain, room));
  pv_slice name = copy.octets;
  int expected = match >= PV_MATCH_EXACT && match <= PV_MATCH_ANY_DEPTH && name.len != 0 &&
                 entry < model->entry_count && model->patterns.count < model->pattern_room &&
                 model->names_len + name.len <= model->names_room &&
                 !has_pattern(&model->patterns, match, name);
  REQUIRE(pv_policy_add_pattern(policy, match, (const char *)name.data, name.len, entry) == expected);
  if (expected) {
    pv_slice kept = pv_slice_of(model->names + model->names_len, name.len);
    memcpy(model->names + model->names_len, name.data, name.len);
    model->names_len += name.len;
    note_pattern(&model->patterns, match, kept, entry);
  }
  free(copy.memory);
}

static void set_entry(struct model *model, struct pv_policy *policy, pv_slice *in) {
  uint32_t index = (uint32_t)below(in, MOST_ENTRIES + 2);
  int pkix = octet(in) & 1, report = octet(in) & 1;
  int64_t expires = (int64_t)word(in);
  REQUIRE(pv_policy_set_entry(policy, index, expires, pkix, report) == (index < model->entry_count));
  if (index >= model->entry_count) return;
  model->entries[index].expires = expires;
  model->entries[index].pkix_when_expired = pkix;
  model->entries[index].report_only = report;
}

// Two octets of input make a digest: the first eight bytes choose a bucket, and the last tells those apart
// that share one.
static void digest_from(pv_slice *in, uint8_t out[32]) {
  memset(out, octet(in), 32);
  out[31] = octet(in);
}

static int is_among(const uint8_t (*pins)[32], size_t count, const uint8_t digest[32]) {
  for (size_t i = 0; i < count; i++) {
    if (memcmp(pins[i], digest, 32) == 0) return 1;
  }
  return 0;
}

static void set_pins(struct model *model, struct pv_policy *policy, pv_slice *in) {
  uint32_t index = (uint32_t)below(in, MOST_ENTRIES + 2);
  int role = (int)below(in, 4) - 1, kind = (int)below(in, 4) - 1;
  uint64_t seed = word(in);
  size_t count = below(in, MOST_PINS + 1);
  struct copy digests = zeros(32 * count);
  for (size_t i = 0; i < count; i++) digest_from(in, digests.memory + 1 + 32 * i);
  int exists = index < model->entry_count && (role == 0 || role == 1) && (kind == 0 || kind == 1);
  int expected = exists && model->entries[index].counts[role][kind] == 0;
  REQUIRE(pv_policy_set_pins(policy, index, role, kind, digests.octets.data, count, seed) == expected);
  if (expected) {
    model->entries[index].counts[role][kind] = count;
    memcpy(model->entries[index].pins[role][kind], digests.octets.data, 32 * count);
  }
  free(digests.memory);
}

// check_pins looks for a digest of the input, and for each that was set, in one bit another.
static void check_pins(const struct model *model, const struct pv_policy *policy, uint32_t index,
                       pv_slice *in) {
  for (int set = 0; set < 4; set++) {
    const struct pv_pinset *pins = &policy->entries[index].pins[set >> 1][set & 1];
    const uint8_t(*known)[32] = model->entries[index].pins[set >> 1][set & 1];
    size_t count = model->entries[index].counts[set >> 1][set & 1];
    uint8_t digest[32];
    digest_from(in, digest);
    REQUIRE(pv_pinset_contains(pins, digest) == is_among(known, count, digest));
    for (size_t i = 0; i < count; i++) {
      memcpy(digest, known[i], 32);
      REQUIRE(pv_pinset_contains(pins, digest));
      digest[octet(in) % 32] ^= (uint8_t)(1 << octet(in) % 8);
      REQUIRE(pv_pinset_contains(pins, digest) == is_among(known, count, digest));
    }
  }
}

static void check_entries(const struct model *model, const struct pv_policy *policy, pv_slice *in) {
  for (uint32_t i = 0; i < model->entry_count; i++) {
    REQUIRE(policy->entries[i].expires == model->entries[i].expires);
    REQUIRE(policy->entries[i].pkix_when_expired == model->entries[i].pkix_when_expired);
    REQUIRE(policy->entries[i].report_only == model->entries[i].report_only);
    check_pins(model, policy, i, in);
  }
}

// check_hosts asks for hosts at the borders of each pattern: its name, with labels ahead, without its first
// octet, and without its last one.
static void check_hosts(const struct model *model, const struct pv_policy *policy) {
  for (size_t i = 0; i < model->patterns.count; i++) {
    pv_slice name = model->patterns.list[i].name;
    uint8_t room[4 + 24] = "b.a.";
    memcpy(room + 4, name.data, name.len);
    for (size_t ahead = 0; ahead <= 4; ahead++) {
      check_find(model, policy, pv_slice_of(room + ahead, 4 - ahead + name.len));
    }
    check_find(model, policy, pv_slice_of(name.data + 1, name.len - 1));
    check_find(model, policy, pv_slice_of(name.data, name.len - 1));
  }
}

static void run(struct model *model, struct pv_policy *policy, pv_slice *in) {
  uint8_t room[24];
  while (in->len != 0) {
    switch (below(in, 8)) {
      case 0:
        set_entry(model, policy, in);
        break;
      case 1:
        set_pins(model, policy, in);
        break;
      case 2:
      case 3:
        check_find(model, policy, name_from(in, model->plain, room));
        break;
      default:
        add_pattern(model, policy, in);
    }
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  pv_slice in = pv_slice_of(data, size), again = in;
  static struct model model;
  memset(&model, 0, sizeof model);
  model.entry_count = (uint32_t)below(&in, MOST_ENTRIES + 1);
  model.pattern_room = below(&in, MOST_PATTERNS + 1);
  model.names_room = octet(&in);
  model.unlisted = (int32_t)below(&in, MOST_ENTRIES + 5) - 4;
  model.plain = octet(&in) & 1;
  for (int i = 0; i < MOST_ENTRIES; i++) model.entries[i].expires = PV_NEVER_EXPIRES;

  struct pv_policy *policy =
      pv_policy_new(model.entry_count, (uint32_t)model.pattern_room, model.names_room, model.unlisted);
  int expected = model.unlisted >= PV_UNLISTED_PKIX && model.unlisted < (int32_t)model.entry_count;
  REQUIRE((policy != NULL) == expected);
  if (policy == NULL) return 0;
  struct copy names = zeros(model.names_room);
  model.names = names.memory + 1;
  run(&model, policy, &in);
  check_entries(&model, policy, &again);
  check_hosts(&model, policy);
  pv_policy_free(policy);
  free(names.memory);
  return 0;
}
