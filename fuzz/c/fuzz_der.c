// SPDX-License-Identifier: Apache-2.0
//
// Invariant of the DER reader, for any octets:
//
// - pv_der_any takes an element if and only if the input begins with the one encoding that DER has for its
//   tag and contents. Header and contents lie one behind the other, within the input, and the input is
//   advanced by exactly them.
// - pv_der_get and pv_der_skip do the same for the tag that was asked for, and for no other.
// - What fails advances nothing and writes nothing.
// - A BIT STRING is good if and only if, read bit by bit, up to 7 bits are unused, all there and zero.

#include "fuzz.h"
#include "pv_der.h"

// check_any takes one element with pv_der_any and returns 1 if there was one; |*in| is then behind it.
static int check_any(pv_slice *in) {
  pv_slice before = *in, contents = untouched(), element = untouched();
  uint8_t tag = 0x77;
  size_t header, length;
  int expected = find_element(before, &header, &length);
  REQUIRE(pv_der_any(in, &tag, &contents, &element) == expected);
  if (!expected) {
    REQUIRE(same(*in, before) && same(contents, untouched()) && same(element, untouched()) && tag == 0x77);
    return 0;
  }
  REQUIRE(tag == before.data[0]);
  REQUIRE(same(element, pv_slice_of(before.data, header + length)));
  REQUIRE(same(contents, pv_slice_of(before.data + header, length)));
  REQUIRE(same(*in, pv_slice_of(before.data + header + length, before.len - header - length)));
  return 1;
}

// check_tag asks for an element with the tag |tag|.
static void check_tag(pv_slice in, uint8_t tag) {
  pv_slice got = in, skipped = in, contents = untouched();
  size_t header, length;
  int expected = find_element(in, &header, &length) && in.data[0] == tag;
  REQUIRE(pv_der_next_is(in, tag) == (in.len != 0 && in.data[0] == tag));
  REQUIRE(pv_der_get(&got, tag, &contents) == expected);
  REQUIRE(pv_der_skip(&skipped, tag) == expected);
  REQUIRE(same(got, skipped));
  if (expected) {
    REQUIRE(same(contents, pv_slice_of(in.data + header, length)));
    REQUIRE(same(got, pv_slice_of(in.data + header + length, in.len - header - length)));
  } else {
    REQUIRE(same(got, in) && same(contents, untouched()));
  }
}

// is_bit_string is the oracle: it counts the bits from the last one on (X.690 8.6.2, 11.2.1).
static int is_bit_string(pv_slice contents) {
  if (contents.len == 0 || contents.data[0] > 7) return 0;
  size_t bits = 8 * (contents.len - 1), unused = contents.data[0];
  if (unused > bits) return 0;
  for (size_t bit = bits - unused; bit < bits; bit++) {
    if (contents.data[1 + bit / 8] >> (7 - bit % 8) & 1) return 0;
  }
  return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct copy copy = copy_of(pv_slice_of(data, size));
  pv_slice in = copy.octets;
  // The tag that is there, and two that are not: the other form of it, and the next one.
  uint8_t tag = in.len == 0 ? 0 : in.data[0];
  check_tag(in, tag);
  check_tag(in, tag ^ 0x20);
  check_tag(in, (uint8_t)(tag + 1));
  REQUIRE(pv_der_is_bit_string(in) == is_bit_string(in));
  while (check_any(&in)) continue;
  free(copy.memory);
  return 0;
}
