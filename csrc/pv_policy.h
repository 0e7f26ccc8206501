// SPDX-License-Identifier: Apache-2.0
//
// What a context holds its peers to: entries (the pins of a host, and what to do with them) and the table
// from host names to entries. A policy is built by one thread and immutable from then on; any number of
// threads may read it.

#ifndef PV_POLICY_H
#define PV_POLICY_H

#include "pv_pinset.h"
#include "pv_slice.h"

// A pin is the hash of a certificate's SubjectPublicKeyInfo or of the whole certificate.
enum pv_kind { PV_KIND_SPKI = 0, PV_KIND_CERT = 1 };

enum pv_role { PV_ROLE_ALLOW = 0, PV_ROLE_DENY = 1 };

// How much of a host name a pattern stands for: all of it, all but exactly one label ahead ("*.name"), or
// itself and whatever lies below ("**.name").
enum pv_match { PV_MATCH_EXACT = 0, PV_MATCH_ONE_LABEL = 1, PV_MATCH_ANY_DEPTH = 2 };

// What pv_policy_find gives for a host that no pattern covers, unless it is the index of an entry.
enum { PV_UNLISTED_DENY = -1, PV_UNLISTED_PKIX = -2 };

#define PV_NEVER_EXPIRES INT64_MAX

struct pv_entry {
  struct pv_pinset pins[2][2];  // by enum pv_role, then enum pv_kind
  int64_t expires;              // Unix time in seconds from which on the pins no longer count
  int pkix_when_expired;        // after that: accept what OpenSSL accepts (1) or refuse (0)
  int report_only;              // 1: the verdict on the pins is told, not enforced
};

struct pv_pattern;

struct pv_policy {
  struct pv_entry *entries;
  uint32_t entry_count;
  struct pv_pattern *patterns;  // open addressing, at most half full; 2^bits of them
  uint32_t pattern_room;        // patterns that may still be added
  uint32_t bits;
  char *names;  // the names of all patterns, one behind the other
  size_t names_len;
  size_t names_room;
  int32_t unlisted;  // an index of an entry, PV_UNLISTED_DENY or PV_UNLISTED_PKIX
};

// pv_policy_new makes a policy with room for |entry_count| entries, and for |pattern_count| patterns whose
// names have |names_len| bytes in all. Entries never expire, are enforced, and hold no pins, so they accept
// nothing. It returns NULL if memory ran out or |unlisted| is neither an entry nor a PV_UNLISTED_ value. The
// caller owes it a pv_policy_free.
PV_MUST_USE struct pv_policy *pv_policy_new(uint32_t entry_count, uint32_t pattern_count, size_t names_len,
                                            int32_t unlisted);

void pv_policy_free(struct pv_policy *policy);

// pv_policy_set_entry sets all of the entry |index| but its pins. It returns 0 if there is no such entry.
PV_MUST_USE int pv_policy_set_entry(struct pv_policy *policy, uint32_t index, int64_t expires,
                                    int pkix_when_expired, int report_only);

// pv_policy_set_pins gives the entry |index| its |count| digests of one role and kind, once. It returns 0,
// changing nothing, if there is no such entry, role or kind, if they were set before, or if memory ran out.
PV_MUST_USE int pv_policy_set_pins(struct pv_policy *policy, uint32_t index, int role, int kind,
                                   const uint8_t *digests, size_t count, uint64_t seed);

// pv_policy_add_pattern leads hosts that fit |match| and the canonical |name| to the entry |index|. It
// returns 0, changing nothing, if there is no such entry or match, the name is empty, the pattern is there
// already, or the room is used up.
PV_MUST_USE int pv_policy_add_pattern(struct pv_policy *policy, int match, const char *name, size_t len,
                                      uint32_t index);

// pv_policy_find returns the index of the entry that decides for the canonical |host|, or |unlisted|. The
// most specific pattern decides alone: exact, then one label, then the longest of any depth.
PV_MUST_USE int32_t pv_policy_find(const struct pv_policy *policy, pv_slice host);

#endif  // PV_POLICY_H
