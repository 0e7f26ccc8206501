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
    for (size_t i = host.len; i < sizeof host.text; i++)
      CHECK(host.text[i] == 0);  // nothing of what was here
    return host.text;
  }
  for (size_t i = 0; i < sizeof host; i++) CHECK(((const uint8_t *)&host)[i] == 0x5a);
  return NULL;
}

// is says whether the octets are read as |canonical|, or refused if that is NULL.
static int is(const void *name, size_t len, const char *canonical) {
  const char *found = reads(name, len);
  return canonical == NULL ? found == NULL : found != NULL && strcmp(found, canonical) == 0;
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
    {"-a.b-", "-a.b-"},
    {"1.2.3.a4", "1.2.3.a4"},
    {"4a.test", "4a.test"},
    {"127.0.0.1.test", "127.0.0.1.test"},
    {"a.1-", "a.1-"},
    {"", NULL},
    {".", NULL},
    {"..", NULL},
    {".a", NULL},
    {"a..b", NULL},
    {"a.b..", NULL},
    {".a.", NULL},
    {"127.0.0.1", NULL},
    {"127.0.0.1.", NULL},
    {"1.2.3", NULL},
    {"a.1", NULL},
    {"2130706433", NULL},
    {"::1", NULL},
    {"[::1]", NULL},
    {"fe80::a%eth0", NULL},
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
    {"\xef\xbd\x81.test", NULL},  // U+FF41, an a to IDNA
    {"a\xe3\x80\x82tst", NULL},   // U+3002, a dot to IDNA
};

static void test_names(void) {
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    CHECK_NAMED(is(names[i].name, strlen(names[i].name), names[i].canonical), names[i].name);
  }
  struct pv_host host;
  CHECK(!pv_host_from_sni(pv_slice_of(NULL, 0), &host));
  CHECK(reads("a\0.test", 7) == NULL && reads("\0", 1) == NULL && reads("a.test\0", 7) == NULL);
}

// Every octet as a label of its own, as the last one, and within one. What is taken is a list here: no range
// can be off by one in both.
static void test_octets(void) {
  static const char taken[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_0123456789";
  static const char lower[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz-_0123456789";
  for (int c = 0; c < 256; c++) {
    const char *place = c == 0 ? NULL : strchr(taken, c);
    char sent[] = {'a', '.', (char)c, 'b', '.'};
    char read[] = {'a', '.', place == NULL ? '.' : lower[place - taken], 'b', 0}, alone[] = {read[2], 0};
    char last[] = {'a', '.', read[2], 0};
    int label = place != NULL && place < taken + 54;  // not all digits
    CHECK(is(sent + 2, 1, label ? alone : NULL));
    CHECK(is(sent, 3, label ? last : NULL));
    CHECK(is(sent, 5, place == NULL ? NULL : read));
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
  memset(name, 'a', sizeof name);
  name[1] = '.';
  for (size_t n = 63; n <= 64; n++) {  // as the last label, in the middle, and as the first
    name[2 + n] = '.';
    CHECK((reads(name, 2 + n) != NULL) == (n == 63));
    CHECK((reads(name, 4 + n) != NULL) == (n == 63));
    CHECK((reads(name + 2, n + 2) != NULL) == (n == 63));
    name[2 + n] = 'a';
  }
}

int main(void) {
  test_names();
  test_octets();
  test_lengths();
  return check_summary();
}
