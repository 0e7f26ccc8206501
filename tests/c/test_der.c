// SPDX-License-Identifier: Apache-2.0
//
// The DER getters: what they take, what they refuse, and that a refusal leaves everything as it was. Each
// input ends at a page that is not mapped.

#include "check.h"
#include "pv_der.h"

static const pv_slice untouched = {(const uint8_t *)"untouched", 9};

static int same(pv_slice a, pv_slice b) { return a.data == b.data && a.len == b.len; }

// takes says whether pv_der_any takes the first |header| + |contents| of |len| octets, and checks that it
// gives those and nothing else, and on failure touches nothing.
static int takes(const uint8_t *octets, size_t len, size_t header, size_t contents) {
  pv_slice all = pv_slice_of(guarded(octets, len), len), in = all, body = untouched, element = untouched;
  uint8_t tag = 0x77;
  if (!pv_der_any(&in, &tag, &body, &element)) {
    CHECK(same(in, all) && same(body, untouched) && same(element, untouched) && tag == 0x77);
    return 0;
  }
  CHECK(tag == all.data[0]);
  CHECK(same(element, pv_slice_of(all.data, header + contents)));
  CHECK(same(body, pv_slice_of(all.data + header, contents)));
  CHECK(same(in, pv_slice_of(all.data + header + contents, len - header - contents)));
  return 1;
}

static const struct {
  const char *why;
  const char *octets;
  size_t len, header, contents;  // |header| 0: refused
} elements[] = {
    {"nothing", "", 0, 0, 0},
    {"a tag alone", "\x30", 1, 0, 0},
    {"empty", "\x05\x00", 2, 2, 0},
    {"short form", "\x04\x03xyz", 5, 2, 3},
    {"octets behind it", "\x04\x01xyz", 5, 2, 1},
    {"cut short", "\x04\x04xyz", 5, 0, 0},
    {"indefinite length (X.690 8.1.3.6)", "\x30\x80\x00\x00", 4, 0, 0},
    {"81 without its octet", "\x04\x81", 2, 0, 0},
    {"82 without its second octet", "\x04\x82\x01", 3, 0, 0},
    {"81 where the short form would do (10.1)", "\x04\x81\x03xyz", 6, 0, 0},
    {"81 7f", "\x04\x81\x7f", 3, 0, 0},
    {"82 with a leading zero", "\x04\x82\x00\x03xyz", 7, 0, 0},
    {"83", "\x04\x83\x00\x00\x03xyz", 8, 0, 0},
    {"84", "\x04\x84\x00\x00\x00\x03xyz", 9, 0, 0},
    {"ff, reserved (8.1.3.5)", "\x04\xff\x03xyz", 6, 0, 0},
    {"high tag number (8.1.2.4)", "\x1f\x01\x00", 3, 0, 0},
    {"high tag number, context", "\xbf\x1f\x00", 3, 0, 0},
    {"[3] constructed", "\xa3\x00", 2, 2, 0},
};

static void test_elements(void) {
  for (size_t i = 0; i < sizeof elements / sizeof elements[0]; i++) {
    int expected = elements[i].header != 0;
    CHECK_NAMED(takes((const uint8_t *)elements[i].octets, elements[i].len, elements[i].header,
                      elements[i].contents) == expected,
                elements[i].why);
  }
}

// put_header writes the shortest header for |contents| octets and returns its length.
static size_t put_header(uint8_t *out, size_t contents) {
  size_t n = 0;
  out[n++] = 0x04;
  if (contents >= 0x80) out[n++] = contents < 0x100 ? 0x81 : contents < 0x10000 ? 0x82 : 0x83;
  for (int shift = contents < 0x100 ? 0 : contents < 0x10000 ? 8 : 16; shift >= 0; shift -= 8) {
    out[n++] = (uint8_t)(contents >> shift);
  }
  return n;
}

static void test_lengths(void) {
  static uint8_t octets[0x10000 + 8];
  static const size_t sizes[] = {0, 1, 0x7f, 0x80, 0x81, 0xff, 0x100, 0x101, 0x7fff, 0x8000, 0xfffe, 0xffff};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    size_t header = put_header(octets, sizes[i]);
    CHECK(takes(octets, header + sizes[i], header, sizes[i]));
    CHECK(takes(octets, header + sizes[i] + 1, header, sizes[i]));
    for (size_t len = 0; len < header + sizes[i]; len += len < 0x200 ? 1 : 97)
      CHECK(!takes(octets, len, 0, 0));
    if (sizes[i] != 0) CHECK(!takes(octets, header + sizes[i] - 1, 0, 0));
  }
  size_t header = put_header(octets, PV_DER_MAX_CONTENTS + 1);
  CHECK(!takes(octets, header + PV_DER_MAX_CONTENTS + 1, 0, 0));
}

// Every input of up to two octets and every header with one octet of length: what the header alone says must
// be what happens.
static void test_all_headers(void) {
  static uint8_t octets[4 + 0xff];
  for (unsigned tag = 0; tag < 256; tag++) {
    octets[0] = (uint8_t)tag;
    CHECK(!takes(octets, 1, 0, 0));
    for (unsigned length = 0; length < 256; length++) {
      octets[1] = (uint8_t)length;
      int low_tag = (tag & 0x1f) != 0x1f;
      CHECK(takes(octets, 2, 2, 0) == (low_tag && length == 0));
      CHECK(takes(octets, 3, 2, length) == (low_tag && length <= 1));
      if (length < 0x80) CHECK(takes(octets, 2 + length, 2, length) == low_tag);
      octets[1] = 0x81;
      octets[2] = (uint8_t)length;
      CHECK(takes(octets, 3 + length, 3, length) == (low_tag && length >= 0x80));
      octets[1] = 0x82;
      octets[2] = 0;
      octets[3] = (uint8_t)length;
      CHECK(!takes(octets, 4 + length, 0, 0));
    }
  }
}

// gets says whether pv_der_get and pv_der_skip take an element of |wanted|, and checks that they agree and on
// failure touch nothing.
static int gets(pv_slice all, uint8_t wanted) {
  pv_slice in = all, rest = all, contents = untouched;
  int got = pv_der_get(&in, wanted, &contents);
  CHECK(pv_der_skip(&rest, wanted) == got && same(in, rest));
  CHECK(got || (same(in, all) && same(contents, untouched)));
  return got;
}

// Each tag is itself alone: also where only the class or the bit for constructed (X.690 8.1.2) differs.
static void test_all_tags(void) {
  for (unsigned tag = 0; tag < 256; tag++) {
    uint8_t octets[] = {(uint8_t)tag, 1, 'x'};
    pv_slice all = pv_slice_of(guarded(octets, sizeof octets), sizeof octets);
    for (unsigned wanted = 0; wanted < 256; wanted++) {
      CHECK(gets(all, (uint8_t)wanted) == (tag == wanted && (tag & 0x1f) != 0x1f));
      CHECK(pv_der_next_is(all, (uint8_t)wanted) == (tag == wanted));
    }
    CHECK(!gets(pv_slice_of(guarded(octets, 2), 2), (uint8_t)tag));
  }
}

static void test_nothing(void) {
  pv_slice nothing = pv_slice_of(NULL, 0), front = untouched;
  CHECK(!gets(nothing, PV_DER_SEQUENCE) && !pv_der_next_is(nothing, PV_DER_SEQUENCE));
  CHECK(!pv_der_next_is(nothing, 0) && !pv_der_is_bit_string(nothing));
  CHECK(!pv_slice_take(&nothing, 1, &front) && !pv_slice_take(&nothing, SIZE_MAX, &front));
  CHECK(same(nothing, pv_slice_of(NULL, 0)) && same(front, untouched));
  CHECK(pv_slice_take(&nothing, 0, &front) && same(front, nothing));
}

static void test_sequence_of_getters(void) {
  pv_slice all = pv_slice_of(guarded("\x02\x01\x07\x30\x00", 5), 5), in = all, contents = untouched;
  CHECK(pv_der_get(&in, PV_DER_INTEGER, &contents));
  CHECK(contents.len == 1 && contents.data[0] == 7);
  CHECK(pv_der_next_is(in, PV_DER_SEQUENCE) && pv_der_skip(&in, PV_DER_SEQUENCE));
  CHECK(in.len == 0 && !pv_der_next_is(in, PV_DER_SEQUENCE) && !pv_der_skip(&in, PV_DER_SEQUENCE));
}

static int is_bit_string(const char *octets, size_t len) {
  return pv_der_is_bit_string(pv_slice_of(guarded(octets, len), len));
}

// X.690 8.6.2.2, 8.6.2.3, 11.2.1.
static void test_bit_strings(void) {
  CHECK(!is_bit_string("", 0));
  CHECK(!is_bit_string("\x08\x00", 2));
  CHECK(!is_bit_string("\xff\x00", 2));
  for (unsigned unused = 0; unused < 256; unused++) {
    char count = (char)unused;
    CHECK(is_bit_string(&count, 1) == (unused == 0));  // no bits are there to leave unused
    for (unsigned last = 0; last < 256; last++) {
      char octets[3] = {(char)unused, (char)0xff, (char)last};
      int expected = unused < 8 && (last & ((1U << unused) - 1)) == 0;
      CHECK(is_bit_string(octets, 3) == expected);
    }
  }
}

int main(void) {
  test_elements();
  test_lengths();
  test_all_headers();
  test_all_tags();
  test_nothing();
  test_sequence_of_getters();
  test_bit_strings();
  return check_summary();
}
