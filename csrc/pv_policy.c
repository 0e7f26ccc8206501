// SPDX-License-Identifier: Apache-2.0

#include "pv_policy.h"

#include <stdlib.h>
#include <string.h>

// A slot of the table. It is free if |len| is 0.
struct pv_pattern {
  uint64_t hash;
  size_t name;  // offset in |names|
  uint32_t len;
  uint32_t entry;
  int match;
};

// Names are hashed from their end with FNV-1a, so that one pass over a host gives the hash of each of its
// suffixes. The hash has no key: names come from the policy's author and the connecting program, not from the
// peer.
#define HASH_START 0xcbf29ce484222325U

static uint64_t hash_push(uint64_t hash, uint8_t c) { return (hash ^ c) * 0x100000001b3U; }

static uint64_t hash_seal(uint64_t hash, int match) { return hash_push(hash, (uint8_t)match); }

static uint64_t hash_name(pv_slice name, int match) {
  uint64_t hash = HASH_START;
  for (size_t i = name.len; i > 0; i--) hash = hash_push(hash, name.data[i - 1]);
  return hash_seal(hash, match);
}

// slot_of finds the slot that holds the pattern, or the free one where it would go. There is always a free
// one: the table is at most half full.
static struct pv_pattern *slot_of(const struct pv_policy *policy, uint64_t hash, int match, pv_slice name) {
  uint64_t mask = ((uint64_t)1 << policy->bits) - 1;
  for (uint64_t i = hash ^ hash >> 32;; i++) {
    struct pv_pattern *slot = &policy->patterns[i & mask];
    if (slot->len == 0) return slot;
    if (slot->hash == hash && slot->match == match && slot->len == name.len &&
        memcmp(policy->names + slot->name, name.data, name.len) == 0) {
      return slot;
    }
  }
}

struct pv_policy *pv_policy_new(uint32_t entry_count, uint32_t pattern_count, size_t names_len,
                                int32_t unlisted) {
  if (entry_count > INT32_MAX || pattern_count > INT32_MAX || names_len == SIZE_MAX) return NULL;
  if (unlisted < PV_UNLISTED_PKIX || unlisted >= (int32_t)entry_count) return NULL;
  struct pv_policy *policy = calloc(1, sizeof *policy);
  if (policy == NULL) return NULL;
  policy->unlisted = unlisted;
  policy->entry_count = entry_count;
  policy->pattern_room = pattern_count;
  policy->names_room = names_len;
  while ((size_t)1 << policy->bits < 2 * (size_t)pattern_count + 1) policy->bits++;
  policy->patterns = calloc((size_t)1 << policy->bits, sizeof *policy->patterns);
  policy->entries = calloc((size_t)entry_count + 1, sizeof *policy->entries);
  policy->names = malloc(names_len + 1);
  if (policy->patterns == NULL || policy->entries == NULL || policy->names == NULL) {
    pv_policy_free(policy);
    return NULL;
  }
  for (uint32_t i = 0; i < entry_count; i++) policy->entries[i].expires = PV_NEVER_EXPIRES;
  return policy;
}

void pv_policy_free(struct pv_policy *policy) {
  if (policy == NULL) return;
  for (uint32_t i = 0; policy->entries != NULL && i < policy->entry_count; i++) {
    for (int role = 0; role < 2; role++) {
      for (int kind = 0; kind < 2; kind++) pv_pinset_free(&policy->entries[i].pins[role][kind]);
    }
  }
  free(policy->entries);
  free(policy->patterns);
  free(policy->names);
  free(policy);
}

int pv_policy_set_entry(struct pv_policy *policy, uint32_t index, int64_t expires, int pkix_when_expired,
                        int report_only) {
  if (index >= policy->entry_count) return 0;
  struct pv_entry *entry = &policy->entries[index];
  entry->expires = expires;
  entry->pkix_when_expired = pkix_when_expired;
  entry->report_only = report_only;
  return 1;
}

int pv_policy_set_pins(struct pv_policy *policy, uint32_t index, int role, int kind, const uint8_t *digests,
                       size_t count, uint64_t seed) {
  if (index >= policy->entry_count || role < 0 || role > 1 || kind < 0 || kind > 1) return 0;
  struct pv_pinset *set = &policy->entries[index].pins[role][kind];
  return set->count == 0 && pv_pinset_build(digests, count, seed, set);
}

int pv_policy_add_pattern(struct pv_policy *policy, int match, const char *name, size_t len, uint32_t index) {
  if (index >= policy->entry_count || match < PV_MATCH_EXACT || match > PV_MATCH_ANY_DEPTH) return 0;
  if (policy->pattern_room == 0 || len == 0 || len > policy->names_room || len > UINT32_MAX) return 0;
  pv_slice slice = pv_slice_of(name, len);
  uint64_t hash = hash_name(slice, match);
  struct pv_pattern *slot = slot_of(policy, hash, match, slice);
  if (slot->len != 0) return 0;
  memcpy(policy->names + policy->names_len, name, len);
  *slot = (struct pv_pattern){hash, policy->names_len, (uint32_t)len, index, match};
  policy->names_len += len;
  policy->names_room -= len;
  policy->pattern_room--;
  return 1;
}

// entry_of returns the entry of the pattern, or |otherwise| if there is no such pattern.
static int32_t entry_of(const struct pv_policy *policy, uint64_t hash, int match, pv_slice name,
                        int32_t otherwise) {
  const struct pv_pattern *slot = slot_of(policy, hash_seal(hash, match), match, name);
  return slot->len == 0 ? otherwise : (int32_t)slot->entry;
}

int32_t pv_policy_find(const struct pv_policy *policy, pv_slice host) {
  int32_t any_depth = policy->unlisted, one_label = -1;
  uint64_t hash = HASH_START;
  for (size_t i = host.len; i > 0; i--) {
    if (host.data[i - 1] ==
        '.') {  // what follows is a parent of the host, and longer than the parents before it
      pv_slice parent = pv_slice_of(host.data + i, host.len - i);
      any_depth = entry_of(policy, hash, PV_MATCH_ANY_DEPTH, parent, any_depth);
      one_label = entry_of(policy, hash, PV_MATCH_ONE_LABEL, parent, -1);
    }
    hash = hash_push(hash, host.data[i - 1]);
  }
  if (one_label < 0) one_label = entry_of(policy, hash, PV_MATCH_ANY_DEPTH, host, any_depth);
  return entry_of(policy, hash, PV_MATCH_EXACT, host, one_label);
}
