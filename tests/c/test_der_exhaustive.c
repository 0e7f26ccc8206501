// SPDX-License-Identifier: Apache-2.0
//
// The DER getters on every input of up to three octets, all 16,843,009 of them, held to tables of what X.690
// says. Each input ends at a page that is not mapped.
//
//   test_der_exhaustive          check all of them
//   test_der_exhaustive dump     print an octet for each, by which test_exhaustive.py compares the Python
//                                engine

#include "check.h"

#include "pv_der.h"

#define MOST 3  // octets of an input

// The forms of a length, by its first octet: the octets of tag and length, and the fewest octets of contents
// for which DER has that form. No input here is long enough for more than the fewest.
static const struct {
  unsigned first, last;
  size_t header, fewest;  // |header| 0: not DER, or over PV_DER_MAX_CONTENTS
} forms[] = {
    {0x00, 0x7f, 2, 0},      // short: the octet is itself the number, X.690 8.1.3.4
    {0x80, 0x80, 0, 0},      // indefinite, 8.1.3.6 and 10.1
    {0x81, 0x81, 3, 0x80},   // long, with one octet more, 8.1.3.5 and 10.1
    {0x82, 0x82, 4, 0x100},  // with two
    {0x83, 0xfe, 0, 0},      // with so many that there are over 65,535 octets of contents
    {0xff, 0xff, 0, 0},      // reserved, 8.1.3.5 c
};

// The identifier octets that announce more of them, 8.1.2.4: of each class, primitive and constructed.
static const uint8_t high_tags[] = {0x1f, 0x3f, 0x5f, 0x7f, 0x9f, 0xbf, 0xdf, 0xff};

// The bits that a BIT STRING leaves unused in its last octet, by its first octet, 8.6.2.2 and 11.2.1. A first
// octet that has no place here is refused.
static const uint8_t unused_bits[] = {0x00, 0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f};

// element is what should be taken off the front: octets in all, and of contents. None if |whole| is 0.
struct element {
  size_t whole, contents;
};

// The two tables of elements, with a row for each octet.
static struct element element_of[256];  // by length octet; of the long forms the smallest
static int is_high[256];                // by identifier octet

static void make_tables(void) {
  for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
    for (unsigned octet = forms[i].first; octet <= forms[i].last && forms[i].header != 0; octet++) {
      size_t contents = forms[i].header == 2 ? octet : forms[i].fewest;
      element_of[octet] = (struct element){forms[i].header + contents, contents};
    }
  }
  for (size_t i = 0; i < sizeof high_tags; i++) is_high[high_tags[i]] = 1;
}

static struct element expected_element(pv_slice input) {
  static const struct element none;
  if (input.len < 2 || is_high[input.data[0]]) return none;
  struct element element = element_of[input.data[1]];
  return element.whole <= input.len ? element : none;
}

static int expected_bit_string(pv_slice input) {
  if (input.len == 0 || input.data[0] >= sizeof unused_bits) return 0;
  uint8_t unused = unused_bits[input.data[0]];
  return input.len == 1 ? unused == 0 : (input.data[input.len - 1] & unused) == 0;
}

static const pv_slice untouched = {(const uint8_t *)"untouched", 9};

static int same(pv_slice a, pv_slice b) { return a.data == b.data && a.len == b.len; }

// is says whether a getter gave |slice|, which should be the |len| octets of |input| from |start| on.
static int is(pv_slice slice, pv_slice input, size_t start, size_t len) {
  return same(slice, pv_slice_of(input.data + start, len));
}

static void check_any(pv_slice input, struct element want) {
  pv_slice in = input, contents = untouched, whole = untouched;
  uint8_t tag = 0x77;
  int taken = pv_der_any(&in, &tag, &contents, &whole);
  CHECK(taken == (want.whole != 0));
  if (taken) {
    CHECK(tag == input.data[0] && is(whole, input, 0, want.whole) &&
          is(contents, input, want.whole - want.contents, want.contents) &&
          is(in, input, want.whole, input.len - want.whole));
  } else {
    CHECK(tag == 0x77 && same(in, input) && same(contents, untouched) && same(whole, untouched));
  }
}

// check_tag asks for the element by its tag, or by another one.
static void check_tag(pv_slice input, struct element want, uint8_t tag) {
  pv_slice in = input, rest = input, contents = untouched;
  int is_next = input.len != 0 && input.data[0] == tag;
  int taken = pv_der_get(&in, tag, &contents);
  CHECK(pv_der_next_is(input, tag) == is_next && taken == (is_next && want.whole != 0) &&
        pv_der_skip(&rest, tag) == taken && same(rest, in));
  if (taken) {
    CHECK(is(contents, input, want.whole - want.contents, want.contents) &&
          is(in, input, want.whole, input.len - want.whole));
  } else {
    CHECK(same(in, input) && same(contents, untouched));
  }
}

// check_input asks for the tag that is there, and where there is an element, for those that differ from it in
// the class alone or in the form (8.1.2.2, 8.1.2.5). Of the shortest inputs and elements there are few: they
// are asked for all tags.
static void check_input(pv_slice input) {
  struct element want = expected_element(input);
  check_any(input, want);
  if (input.len < 2 || (input.len == 2 && want.whole == 2)) {
    for (unsigned tag = 0; tag < 256; tag++) check_tag(input, want, (uint8_t)tag);
  } else {
    check_tag(input, want, input.data[0]);
    if (want.whole != 0) {
      check_tag(input, want, input.data[0] ^ 0x80);
      check_tag(input, want, input.data[0] ^ 0x20);
    }
  }
  CHECK(pv_der_is_bit_string(input) == expected_bit_string(input));
}

// dump_input prints what the getters say: in the upper four bits the octets of the element, in the next three
// those of its contents, and in the lowest whether the input is the contents of a BIT STRING.
static void dump_input(pv_slice input) {
  pv_slice in = input, contents = {NULL, 0}, whole = {NULL, 0};
  uint8_t tag;
  size_t answer = pv_der_is_bit_string(input) ? 1 : 0;
  if (pv_der_any(&in, &tag, &contents, &whole)) answer |= whole.len << 4 | contents.len << 1;
  CHECK(putchar((int)answer) != EOF);
}

// each_input calls |visit| with all inputs, the shorter ones first. They are written to one place, which ends
// at a page that is not mapped.
static void each_input(void (*visit)(pv_slice)) {
  static const uint8_t zeros[MOST];
  for (size_t len = 0; len <= MOST; len++) {
    uint8_t *octets = guarded(zeros, len);
    for (uint32_t number = 0; number >> (8 * len) == 0; number++) {
      for (size_t i = 0; i < len; i++) octets[i] = (uint8_t)(number >> (8 * (len - 1 - i)));
      visit(pv_slice_of(octets, len));
    }
  }
}

int main(int argc, char **argv) {
  make_tables();
  if (argc == 2 && strcmp(argv[1], "dump") == 0) {
    each_input(dump_input);
    return check_failed != 0 || fflush(stdout) != 0;
  }
  each_input(check_input);
  return check_summary();
}
