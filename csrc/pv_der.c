// SPDX-License-Identifier: Apache-2.0

#include "pv_der.h"

// get_length takes the length octets (X.690 8.1.3, with 10.1: definite and as short as can be).
static PV_MUST_USE int get_length(pv_slice *in, size_t *out_len) {
  pv_slice first, rest;
  if (!pv_slice_take(in, 1, &first)) return 0;
  size_t octets = first.data[0] & 0x7fU;
  if ((first.data[0] & 0x80) == 0) {  // the short form, 8.1.3.4
    *out_len = octets;
    return 1;
  }
  // 0x80 alone is the indefinite form (8.1.3.6), which DER forbids. Three octets and more could only say what
  // is over PV_DER_MAX_CONTENTS or not minimal.
  if (octets == 0 || octets > 2) return 0;
  if (!pv_slice_take(in, octets, &rest)) return 0;
  size_t len = rest.data[0];
  if (octets == 2) len = len << 8 | rest.data[1];
  if (len < (octets == 1 ? 0x80U : 0x100U)) return 0;  // a shorter form exists, 10.1
  *out_len = len;
  return 1;
}

int pv_der_any(pv_slice *in, uint8_t *out_tag, pv_slice *out_contents, pv_slice *out_element) {
  pv_slice rest = *in, tag, contents, element;
  size_t len;
  if (!pv_slice_take(&rest, 1, &tag)) return 0;
  if ((tag.data[0] & 0x1f) == 0x1f)
    return 0;  // the high-tag-number form (8.1.2.4) has no place in a certificate
  if (!get_length(&rest, &len) || !pv_slice_take(&rest, len, &contents)) return 0;
  if (!pv_slice_take(in, in->len - rest.len, &element)) return 0;
  *out_tag = tag.data[0];
  *out_contents = contents;
  *out_element = element;
  return 1;
}

int pv_der_get(pv_slice *in, uint8_t tag, pv_slice *out_contents) {
  pv_slice rest = *in, contents, element;
  uint8_t found;
  if (!pv_der_any(&rest, &found, &contents, &element) || found != tag) return 0;
  *in = rest;
  *out_contents = contents;
  return 1;
}

int pv_der_skip(pv_slice *in, uint8_t tag) {
  pv_slice contents;
  return pv_der_get(in, tag, &contents);
}

int pv_der_next_is(pv_slice in, uint8_t tag) {
  pv_slice first;
  return pv_slice_take(&in, 1, &first) && first.data[0] == tag;
}

int pv_der_is_bit_string(pv_slice contents) {
  pv_slice unused;
  if (!pv_slice_take(&contents, 1, &unused) || unused.data[0] > 7) return 0;
  if (contents.len == 0) return unused.data[0] == 0;
  unsigned padding = (1U << unused.data[0]) - 1;
  return (contents.data[contents.len - 1] & padding) == 0;
}
