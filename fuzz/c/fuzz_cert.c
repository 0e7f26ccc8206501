// SPDX-License-Identifier: Apache-2.0
//
// Invariant of the walk over a certificate, for any octets:
//
// - What is refused has a status that says where, and gives no key.
// - What is taken is one SEQUENCE to its last octet: no front of it is taken, nor anything with an octet
//   behind it.
// - The key is the element of the input that stands where RFC 5280 4.1 has subjectPublicKeyInfo: the sixth
//   field of tbsCertificate, or the seventh if there is a version.
// - The key is a SEQUENCE of exactly a SEQUENCE and a BIT STRING.

#include "fuzz.h"
#include "mutate_der.h"
#include "pv_cert.h"
#include "pv_der.h"

// enter takes the next element, which must be there and have that tag, and gives its contents.
static pv_slice enter(pv_slice *in, uint8_t tag) {
  pv_slice contents, element;
  uint8_t found;
  REQUIRE(pv_der_any(in, &found, &contents, &element) && found == tag);
  return contents;
}

// place_of_key counts the fields of tbsCertificate, and looks at none but the first one's tag.
static pv_slice place_of_key(pv_slice cert) {
  pv_slice fields = enter(&cert, PV_DER_SEQUENCE), tbs = enter(&fields, PV_DER_SEQUENCE), contents, element;
  uint8_t tag;
  int ahead = tbs.len != 0 && tbs.data[0] == 0xa0 ? 6 : 5;
  for (int i = 0; i <= ahead; i++) REQUIRE(pv_der_any(&tbs, &tag, &contents, &element));
  return element;
}

static void check_key(pv_slice cert, pv_slice spki) {
  REQUIRE(same(spki, place_of_key(cert)));
  pv_slice members = enter(&spki, PV_DER_SEQUENCE);
  REQUIRE(spki.len == 0);
  pv_slice algorithm = enter(&members, PV_DER_SEQUENCE), key = enter(&members, PV_DER_BIT_STRING);
  REQUIRE(members.len == 0 && key.len != 0);
  REQUIRE(pv_der_next_is(algorithm, PV_DER_OID));
}

static void refuses(pv_slice octets, enum pv_status status) {
  pv_slice spki = untouched();
  REQUIRE(pv_cert_spki(octets, &spki) == status);
  REQUIRE(same(spki, untouched()));
}

// check_ends walks each front of a certificate that was taken, and the certificate with an octet behind it.
static void check_ends(pv_slice cert) {
  for (size_t len = 0; len < cert.len; len++) refuses(pv_slice_of(cert.data, len), PV_BAD_CERTIFICATE);
  struct copy longer = zeros(cert.len + 1);
  memcpy(longer.memory + 1, cert.data, cert.len);
  refuses(longer.octets, PV_BAD_TRAILING);
  free(longer.memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct copy copy = copy_of(pv_slice_of(data, size));
  pv_slice spki = untouched();
  enum pv_status status = pv_cert_spki(copy.octets, &spki);
  REQUIRE(status >= PV_OK && status <= PV_BAD_CERTIFICATE_TRAILING);
  if (status == PV_OK) {
    check_key(copy.octets, spki);
    check_ends(copy.octets);
  } else {
    REQUIRE(same(spki, untouched()));
  }
  free(copy.memory);
  return 0;
}
