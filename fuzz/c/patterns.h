// SPDX-License-Identifier: Apache-2.0
//
// The oracle for pv_policy_find: a list of patterns, and a search through all of it.

#ifndef PATTERNS_H
#define PATTERNS_H

#include "fuzz.h"
#include "pv_policy.h"

#define MOST_PATTERNS 16

struct patterns {
  struct {
    int match;
    pv_slice name;
    uint32_t entry;
  } list[MOST_PATTERNS];
  size_t count;
};

static inline int has_pattern(const struct patterns *patterns, int match, pv_slice name) {
  for (size_t i = 0; i < patterns->count; i++) {
    if (patterns->list[i].match == match && equal(patterns->list[i].name, name)) return 1;
  }
  return 0;
}

static inline void note_pattern(struct patterns *patterns, int match, pv_slice name, uint32_t entry) {
  REQUIRE(patterns->count < MOST_PATTERNS);
  patterns->list[patterns->count].match = match;
  patterns->list[patterns->count].name = name;
  patterns->list[patterns->count++].entry = entry;
}

// rank says how specifically a pattern covers |host|, 0 being not at all: exact goes first, then one label,
// then the longest of any depth.
static inline size_t rank(int match, pv_slice name, pv_slice host) {
  const size_t exact = SIZE_MAX, one_label = SIZE_MAX - 1;
  if (equal(host, name)) return match == PV_MATCH_EXACT ? exact : match == PV_MATCH_ANY_DEPTH ? name.len : 0;
  if (match == PV_MATCH_EXACT || host.len < name.len + 1) return 0;
  size_t ahead = host.len - name.len - 1;
  pv_slice end = pv_slice_of(host.data + ahead + 1, name.len);
  if (host.data[ahead] != '.' || !equal(end, name)) return 0;
  if (match == PV_MATCH_ANY_DEPTH) return name.len;
  return memchr(host.data, '.', ahead) == NULL ? one_label : 0;
}

static inline int32_t search(const struct patterns *patterns, pv_slice host, int32_t unlisted) {
  size_t best = 0;
  int32_t found = unlisted;
  for (size_t i = 0; i < patterns->count; i++) {
    size_t here = rank(patterns->list[i].match, patterns->list[i].name, host);
    if (here <= best) continue;
    best = here;
    found = (int32_t)patterns->list[i].entry;
  }
  return found;
}

#endif  // PATTERNS_H
