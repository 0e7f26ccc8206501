// SPDX-License-Identifier: Apache-2.0
//
// Strict getters for DER (X.690, chapter 10). They take elements off the front of a slice, allocate nothing
// and look at no byte twice. Accepted are single-byte tags and definite lengths in their shortest form, up to
// PV_DER_MAX_CONTENTS. On failure a getter returns 0, advances nothing and writes nothing.

#ifndef PV_DER_H
#define PV_DER_H

#include "pv_slice.h"

// PV_DER_MAX_CONTENTS caps the contents of one element, in octets: what two length octets can say. Real
// certificates are of 1 to 8 KiB.
#define PV_DER_MAX_CONTENTS 0xffffU

enum {
  PV_DER_INTEGER = 0x02,
  PV_DER_BIT_STRING = 0x03,
  PV_DER_OID = 0x06,
  PV_DER_SEQUENCE = 0x30,
};

// PV_DER_CONTEXT(n) is the tag [n] over a primitive encoding, PV_DER_CONTEXT_CONSTRUCTED(n) over a
// constructed one (X.690 8.1.2).
#define PV_DER_CONTEXT(n) (0x80 | (n))
#define PV_DER_CONTEXT_CONSTRUCTED(n) (0xa0 | (n))

// pv_der_any takes one element of any tag. |*out_tag| is its identifier octet, |*out_contents| its contents
// octets and |*out_element| all of it.
PV_MUST_USE int pv_der_any(pv_slice *in, uint8_t *out_tag, pv_slice *out_contents, pv_slice *out_element);

// pv_der_get takes an element that must have the tag |tag| and gives its contents.
PV_MUST_USE int pv_der_get(pv_slice *in, uint8_t tag, pv_slice *out_contents);

// pv_der_skip takes an element that must have the tag |tag|.
PV_MUST_USE int pv_der_skip(pv_slice *in, uint8_t tag);

// pv_der_next_is returns 1 if the next identifier octet is |tag|; it takes nothing.
PV_MUST_USE int pv_der_next_is(pv_slice in, uint8_t tag);

// pv_der_is_bit_string returns 1 if |contents| are those of a BIT STRING (X.690 8.6.2, 11.2): a count of
// unused bits of 0 to 7, with at least as many bits to leave unused, each of them zero.
PV_MUST_USE int pv_der_is_bit_string(pv_slice contents);

#endif  // PV_DER_H
