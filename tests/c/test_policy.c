// SPDX-License-Identifier: Apache-2.0
//
// The table from host names to entries, against cases written out and against a search through all patterns.
// Patterns are written here as users write them: "name", "*.name", "**.name".

#include "check.h"
#include "pv_policy.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define ENOUGH ((size_t)1 << 16)  // room for the names of all but the largest test

static struct pv_policy *new_policy(size_t entries, size_t patterns, size_t names_len, int32_t unlisted) {
  struct pv_policy *policy = pv_policy_new((uint32_t)entries, (uint32_t)patterns, names_len, unlisted);
  if (policy == NULL) abort();
  return policy;
}

static int match_of(const char *pattern) {
  return pattern[0] != '*' ? PV_MATCH_EXACT : pattern[1] != '*' ? PV_MATCH_ONE_LABEL : PV_MATCH_ANY_DEPTH;
}

static const char *name_of(const char *pattern) {
  int match = match_of(pattern);
  return match == PV_MATCH_EXACT ? pattern : pattern + match + 1;
}

static int add(struct pv_policy *policy, const char *pattern, size_t index) {
  const char *name = name_of(pattern);
  const void *copy = guarded(name, strlen(name));  // no byte behind it is looked at
  return pv_policy_add_pattern(policy, match_of(pattern), copy, strlen(name), (uint32_t)index);
}

static int32_t find(const struct pv_policy *policy, const char *host) {
  return pv_policy_find(policy, pv_slice_of(guarded(host, strlen(host)), strlen(host)));
}

static const char *const patterns[] = {
    "www.example.com",         "*.example.com", "**.example.com", "**.deep.example.com", "**.com",
    "*.host.deep.example.com", "localhost",     "*.test",         "**.internal",         "_dns.a-b.net",
    "a.b.c.d.e.f.g.h",
};

static const struct {
  const char *host, *pattern;  // NULL: unlisted
} cases[] = {
    {"www.example.com", "www.example.com"},
    {"mail.example.com", "*.example.com"},
    {"wwww.example.com", "*.example.com"},
    {"deep.example.com", "*.example.com"},  // one label goes before any depth, which is longer here
    {"example.com", "**.example.com"},
    {"a.www.example.com", "**.example.com"},
    {"a.b.example.com", "**.example.com"},
    {"x.notdeep.example.com", "**.example.com"},
    {"x.deep.example.com", "**.deep.example.com"},
    {"host.deep.example.com", "**.deep.example.com"},
    {"a.host.deep.example.com", "*.host.deep.example.com"},
    {"b.a.host.deep.example.com", "**.deep.example.com"},
    {"com", "**.com"},
    {"badexample.com", "**.com"},  // a suffix as text, not at the border of a label
    {"www.badexample.com", "**.com"},
    {"xample.com", "**.com"},
    {"localhost", "localhost"},
    {"a.localhost", NULL},
    {"alocalhost", NULL},
    {"ocalhost", NULL},
    {"localhos", NULL},
    {"a.test", "*.test"},
    {"test", NULL},
    {"atest", NULL},
    {"a.b.test", NULL},
    {"internal", "**.internal"},
    {"a.internal", "**.internal"},
    {"a.b.c.internal", "**.internal"},
    {"ainternal", NULL},
    {"_dns.a-b.net", "_dns.a-b.net"},
    {"a-b.net", NULL},
    {"dns.a-b.net", NULL},
    {"www.example.co", NULL},
    {"example.com.net", NULL},
    {"a.b.c.d.e.f.g.h", "a.b.c.d.e.f.g.h"},
    {"b.c.d.e.f.g.h", NULL},
    {"a.a.b.c.d.e.f.g.h", NULL},
    {"", NULL},  // a server's peer has no name
};

static int32_t index_of(const char *pattern, int32_t unlisted) {
  for (size_t i = 0; pattern != NULL && i < COUNT(patterns); i++) {
    if (strcmp(patterns[i], pattern) == 0) return (int32_t)i;
  }
  return unlisted;
}

// The most specific pattern decides, in whatever order they were added, and |unlisted| for the rest.
static void test_cases(int32_t unlisted, int backwards) {
  struct pv_policy *policy = new_policy(COUNT(patterns) + 1, COUNT(patterns), ENOUGH, unlisted);
  for (size_t i = 0; i < COUNT(patterns); i++) {
    size_t index = backwards ? COUNT(patterns) - 1 - i : i;
    CHECK_NAMED(find(policy, name_of(patterns[index])) != (int32_t)index, patterns[index]);
    CHECK_NAMED(add(policy, patterns[index], index), patterns[index]);
  }
  for (size_t i = 0; i < COUNT(cases); i++) {
    CHECK_NAMED(find(policy, cases[i].host) == index_of(cases[i].pattern, unlisted), cases[i].host);
  }
  pv_policy_free(policy);
}

static uint64_t random_state = 0x9e3779b97f4a7c15U;

// below gives a number less than |bound|. Xorshift (Marsaglia, 2003) from a fixed start: each run is the
// same.
static size_t below(size_t bound) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (size_t)(random_state >> 33) % bound;
}

// random_name appends up to four labels, of so few kinds that names often meet, or end in one another.
static void random_name(char *out) {
  static const char *const labels[] = {"a", "b", "ab", "ba", "bab"};
  for (size_t i = below(4) + 1; i > 0; i--) {
    strcat(out, labels[below(COUNT(labels))]);
    if (i > 1) strcat(out, ".");
  }
}

// rank is the oracle: how specifically |pattern| covers |host|, or 0 if it does not.
static size_t rank(const char *pattern, const char *host) {
  const char *name = name_of(pattern);
  size_t host_len = strlen(host), name_len = strlen(name);
  int match = match_of(pattern);
  if (strcmp(host, name) == 0) {
    return match == PV_MATCH_EXACT ? 1000 : match == PV_MATCH_ANY_DEPTH ? name_len : 0;
  }
  if (match == PV_MATCH_EXACT || host_len < name_len + 2) return 0;
  size_t ahead = host_len - name_len - 1;
  if (host[ahead] != '.' || strcmp(host + ahead + 1, name) != 0) return 0;
  if (match == PV_MATCH_ANY_DEPTH) return name_len;
  return memchr(host, '.', ahead) == NULL ? 999 : 0;
}

static void test_oracle(void) {
  static const char *const stars[] = {"", "*.", "**."};
  char known[32][32], host[32];
  size_t count = below(COUNT(known)) + 1;
  struct pv_policy *policy = new_policy(count, count, ENOUGH, PV_UNLISTED_DENY);
  for (size_t i = 0; i < count; i++) {
    strcpy(known[i], stars[below(3)]);
    random_name(known[i]);
    size_t first = 0;
    while (strcmp(known[first], known[i]) != 0) first++;
    CHECK_NAMED(add(policy, known[i], i) == (first == i), known[i]);  // only the first of its like gets in
  }
  for (int n = 0; n < 100; n++) {
    host[0] = 0;
    random_name(host);
    int32_t expected = PV_UNLISTED_DENY;
    size_t highest = 0;
    for (size_t i = 0; i < count; i++) {
      if (rank(known[i], host) <= highest) continue;
      highest = rank(known[i], host);
      expected = (int32_t)i;
    }
    CHECK_NAMED(find(policy, host) == expected, host);
  }
  pv_policy_free(policy);
}

#define MANY 100000

// A name for each pattern, a host that it covers, and one that it does not.
static void test_many(void) {
  static const char *const forms[][3] = {
      {"h%d.example", "h%d.example", "a.h%d.example"},
      {"*.h%d.example", "a.h%d.example", "a.b.h%d.example"},
      {"**.h%d.example", "a.b.h%d.example", "a.bh%d.example"},
  };
  struct pv_policy *policy = new_policy(MANY, MANY, (size_t)MANY * 16, PV_UNLISTED_PKIX);
  char text[3][40];
  for (int pass = 0; pass < 2; pass++) {
    for (int i = 0; i < MANY; i++) {
      for (int form = 0; form < 3; form++) snprintf(text[form], sizeof text[form], forms[i % 3][form], i);
      if (pass == 0) {
        CHECK_NAMED(add(policy, text[0], (size_t)i), text[0]);
      } else {
        CHECK_NAMED(find(policy, text[1]) == i, text[1]);
        CHECK_NAMED(find(policy, text[2]) == PV_UNLISTED_PKIX, text[2]);
      }
    }
  }
  CHECK(find(policy, "h100000.example") == PV_UNLISTED_PKIX);
  pv_policy_free(policy);
}

// Two names with the same FNV-1a hash, taken from their end as the table does: the hash alone decides
// nothing.
static void test_collision(void) {
  static const char *const names[] = {"kqPwB-4jIlHYKCYi0ny8", "QK3Vzy9gfqMw4MrULeRG"};
  struct pv_policy *policy = new_policy(2, 2, ENOUGH, PV_UNLISTED_DENY);
  for (int i = 0; i < 2; i++) {
    CHECK(find(policy, names[i]) == PV_UNLISTED_DENY);
    CHECK(add(policy, names[i], (size_t)i));
  }
  CHECK(find(policy, names[0]) == 0 && find(policy, names[1]) == 1);
  pv_policy_free(policy);
}

static void test_refusals(void) {
  CHECK(pv_policy_new(1, 1, 1, -3) == NULL);
  CHECK(pv_policy_new(1, 1, 1, 1) == NULL);
  CHECK(pv_policy_new(0, 0, 0, 0) == NULL);
  CHECK(pv_policy_new(1, 1, SIZE_MAX, PV_UNLISTED_DENY) == NULL);
  CHECK(pv_policy_new((uint32_t)INT32_MAX + 1, 1, 1, 0) == NULL);
  CHECK(pv_policy_new(1, (uint32_t)INT32_MAX + 1, 1, 0) == NULL);
  pv_policy_free(NULL);

  struct pv_policy *policy = new_policy(2, 3, 8, PV_UNLISTED_DENY);
  CHECK(!pv_policy_add_pattern(policy, -1, "a", 1, 0));
  CHECK(!pv_policy_add_pattern(policy, 3, "a", 1, 0));
  CHECK(!add(policy, "a", 2));
  CHECK(!add(policy, "", 0));
  CHECK(!add(policy, "ninechars", 0));  // more than the names' room, all of which is still there
  CHECK(find(policy, "a") == PV_UNLISTED_DENY && find(policy, "ninechars") == PV_UNLISTED_DENY);
  CHECK(add(policy, "abcdef", 1));
  CHECK(!add(policy, "abcdef", 0));  // a duplicate changes nothing, and takes no room
  CHECK(find(policy, "abcdef") == 1);
  CHECK(!add(policy, "xyz", 0) && add(policy, "*.x", 0) && add(policy, "**.x", 1));
  CHECK(!add(policy, "y", 0));  // the names' room is used up
  CHECK(find(policy, "abcdef") == 1 && find(policy, "a.x") == 0 && find(policy, "x") == 1);
  pv_policy_free(policy);

  policy = new_policy(1, 1, ENOUGH, 0);
  CHECK(add(policy, "a", 0) && !add(policy, "b", 0));  // the patterns' room is used up
  pv_policy_free(policy);
  policy = new_policy(0, 0, 0, PV_UNLISTED_DENY);
  CHECK(!add(policy, "a", 0) && find(policy, "a") == PV_UNLISTED_DENY);
  pv_policy_free(policy);
}

// holds says whether the set of the entry has the pin that is 32 times |byte|.
static int holds(const struct pv_policy *policy, int index, int role, int kind, int byte) {
  uint8_t digest[32];
  memset(digest, byte, sizeof digest);
  return pv_pinset_contains(&policy->entries[index].pins[role][kind], digest);
}

static int set_pins(struct pv_policy *policy, uint32_t index, int role, int kind, int byte) {
  uint8_t digest[32];
  memset(digest, byte, sizeof digest);
  return pv_policy_set_pins(policy, index, role, kind, digest, 1, 12345);
}

// Each of the eight sets of two entries takes its pins once, and no others.
static void test_pins(void) {
  struct pv_policy *policy = new_policy(2, 0, 0, PV_UNLISTED_DENY);
  CHECK(!set_pins(policy, 2, 0, 0, 9) && !set_pins(policy, 0, -1, 0, 9) && !set_pins(policy, 0, 2, 0, 9));
  CHECK(!set_pins(policy, 0, 0, -1, 9) && !set_pins(policy, 0, 0, 2, 9));
  for (int set = 0; set < 8; set++) {
    int index = set >> 2, role = set >> 1 & 1, kind = set & 1;
    CHECK(set_pins(policy, (uint32_t)index, role, kind, set));
    CHECK(!set_pins(policy, (uint32_t)index, role, kind, 9));
  }
  for (int set = 0; set < 8; set++) {
    for (int byte = 0; byte < 10; byte++) {
      CHECK(holds(policy, set >> 2, set >> 1 & 1, set & 1, byte) == (byte == set));
    }
  }
  pv_policy_free(policy);
}

static void test_entries(void) {
  struct pv_policy *policy = new_policy(2, 0, 0, PV_UNLISTED_DENY);
  CHECK(pv_policy_set_entry(policy, 1, 77, 1, 1));
  CHECK(!pv_policy_set_entry(policy, 2, 77, 1, 1));
  const struct pv_entry *fresh = &policy->entries[0], *set = &policy->entries[1];
  CHECK(fresh->expires == PV_NEVER_EXPIRES && !fresh->pkix_when_expired && !fresh->report_only);
  CHECK(set->expires == 77 && set->pkix_when_expired && set->report_only);
  for (int i = 0; i < 4; i++) CHECK(fresh->pins[i >> 1][i & 1].count == 0);
  pv_policy_free(policy);
}

int main(void) {
  for (int32_t unlisted = PV_UNLISTED_PKIX; unlisted < 0; unlisted++) {
    for (int backwards = 0; backwards < 2; backwards++) test_cases(unlisted, backwards);
  }
  test_cases(COUNT(patterns), 0);  // an entry that no pattern leads to
  for (int i = 0; i < 200; i++) test_oracle();
  test_many();
  test_collision();
  test_refusals();
  test_pins();
  test_entries();
  return check_summary();
}
