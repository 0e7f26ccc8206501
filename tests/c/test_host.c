// SPDX-License-Identifier: Apache-2.0
//
// The server name as the guard reads it: canonical, or refused with nothing written.

#include "check.h"

#include "pv_host.h"

// reads returns the canonical form of a name, or NULL; on failure nothing may have been written.
static const char *reads(const void *name, size_t len) {
  static struct pv_host host;
  memset(&host, 0x5a, sizeof host);
  if (pv_host_from_sni(pv_slice_of(guarded(name, len), len), &host)) {
    CHECK(host.len == strlen(host.text) && host.ip_len == 0);
    return host.text;
  }
  for (size_t i = 0; i < sizeof host; i++) CHECK(((const uint8_t *)&host)[i] == 0x5a);
  return NULL;
}

static const struct {
  const char *name, *canonical;  // NULL: refused
} names[] = {
    {"a", "a"},
    {"Api.Example.COM", "api.example.com"},
    {"api.example.com.", "api.example.com"},
    {"xn--bcher-kva.example", "xn--bcher-kva.example"},
    {"_25._tcp.mail.example", "_25._tcp.mail.example"},
    {"a-b.c--d.test", "a-b.c--d.test"},
    {"1.2.3.a4", "1.2.3.a4"},
    {"4a.test", "4a.test"},
    {"", NULL},
    {".", NULL},
    {"..", NULL},
    {".a", NULL},
    {"a..b", NULL},
    {"a.b..", NULL},
    {"127.0.0.1", NULL},
    {"1.2.3", NULL},
    {"a.1", NULL},
    {"2130706433", NULL},
    {"::1", NULL},
    {"[::1]", NULL},
    {"a.test:443", NULL},
    {"https://a.test", NULL},
    {"a.test/x", NULL},
    {"*.test", NULL},
    {" a.test", NULL},
    {"a.test ", NULL},
    {"a,test", NULL},
    {"b\xc3\xbc"
     "cher.test",
     NULL},
};

static void test_names(void) {
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    const char *found = reads(names[i].name, strlen(names[i].name)), *expected = names[i].canonical;
    CHECK_NAMED((found == NULL) == (expected == NULL), names[i].name);
    CHECK_NAMED(found == NULL || strcmp(found, expected) == 0, names[i].name);
  }
  CHECK(reads("a\0.test", 7) == NULL && reads("\0", 1) == NULL && reads("a.test\0", 7) == NULL);
}

// Every octet as a label of its own, and within one.
static void test_octets(void) {
  for (int c = 0; c < 256; c++) {
    int letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'), digit = c >= '0' && c <= '9';
    int taken = letter || digit || c == '-' || c == '_';
    char alone[1] = {(char)c}, within[4] = {'a', (char)c, 'b', '.'}, last[3] = {'a', '.', (char)c};
    CHECK((reads(alone, 1) != NULL) == (taken && !digit));
    CHECK((reads(within, 4) != NULL) == (taken || c == '.'));
    CHECK((reads(last, 3) != NULL) == (taken && !digit));
  }
}

// RFC 1035 2.3.4: 63 octets a label, 253 a name that is written without its last dot.
static void test_lengths(void) {
  char name[400];
  memset(name, 'a', sizeof name);
  CHECK(reads(name, 63) != NULL && reads(name, 64) == NULL);
  for (size_t i = 63; i < sizeof name; i += 64) name[i] = '.';
  CHECK(reads(name, 253) != NULL && reads(name, 254) == NULL && reads(name, sizeof name) == NULL);
  name[253] = '.';
  CHECK(reads(name, 254) != NULL && reads(name, 255) == NULL);
}

int main(void) {
  test_names();
  test_octets();
  test_lengths();
  return check_summary();
}
