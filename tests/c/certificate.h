// SPDX-License-Identifier: Apache-2.0
//
// Certificates made from their parts, so that a test can change one part and leave the lengths around it
// right.

#ifndef CERTIFICATE_H
#define CERTIFICATE_H

#include <string.h>

#include "pv_slice.h"

// The parts, in their order (RFC 5280 4.1). Those called _REST are what follows the last known member of a
// level, and are empty in a good certificate.
enum part {
  VERSION,
  SERIAL,
  SIGNATURE,
  ISSUER,
  VALIDITY,
  SUBJECT,
  SPKI_ALGORITHM,
  SPKI_KEY,
  SPKI_REST,
  ISSUER_UID,
  SUBJECT_UID,
  EXTENSIONS,
  TBS_REST,
  SIGNATURE_ALGORITHM,
  SIGNATURE_VALUE,
  CERTIFICATE_REST,
  REST,
  PARTS
};

#define OCTETS(text) \
  { (const uint8_t *)(text), sizeof(text) - 1 }

// A certificate of version 1: nothing optional is there. The OID is Ed25519's (RFC 8410 3).
static const pv_slice minimal[PARTS] = {
    [SERIAL] = OCTETS("\x02\x01\x07"),
    [SIGNATURE] = OCTETS("\x30\x05\x06\x03\x2b\x65\x70"),
    [ISSUER] = OCTETS("\x30\x00"),
    [VALIDITY] = OCTETS("\x30\x00"),
    [SUBJECT] = OCTETS("\x30\x00"),
    [SPKI_ALGORITHM] = OCTETS("\x30\x05\x06\x03\x2b\x65\x70"),
    [SPKI_KEY] = OCTETS("\x03\x05\x00key!"),
    [SIGNATURE_ALGORITHM] = OCTETS("\x30\x05\x06\x03\x2b\x65\x70"),
    [SIGNATURE_VALUE] = OCTETS("\x03\x02\x00s"),
};

// wrap puts the shortest SEQUENCE header ahead of the |len| octets at |octets|, which move; it returns the
// new length. It goes on to three length octets, which is more than a certificate may have.
static inline size_t wrap(uint8_t *octets, size_t len) {
  uint8_t header[5] = {0x30, (uint8_t)len};
  size_t n = 2;
  if (len >= 0x80) {
    size_t count = len < 0x100 ? 1 : len < 0x10000 ? 2 : 3;
    header[1] = (uint8_t)(0x80 | count);
    for (size_t i = 0; i < count; i++) header[n++] = (uint8_t)(len >> (8 * (count - 1 - i)));
  }
  memmove(octets + n, octets, len);
  memcpy(octets, header, n);
  return n + len;
}

static inline size_t append(uint8_t *out, const pv_slice *parts, enum part first, enum part end) {
  size_t len = 0;
  for (enum part part = first; part < end; part++) {
    if (parts[part].len != 0) memcpy(out + len, parts[part].data, parts[part].len);
    len += parts[part].len;
  }
  return len;
}

// assemble writes the certificate of these parts to |out| and returns its length; |*out_spki| is the place of
// its SubjectPublicKeyInfo in it.
static inline size_t assemble(const pv_slice *parts, uint8_t *out, pv_slice *out_spki) {
  size_t before = append(out, parts, VERSION, SPKI_ALGORITHM);
  size_t spki = wrap(out + before, append(out + before, parts, SPKI_ALGORITHM, ISSUER_UID));
  size_t tbs = before + spki;
  tbs += append(out + tbs, parts, ISSUER_UID, SIGNATURE_ALGORITHM);
  size_t inner = tbs;
  tbs = wrap(out, tbs);
  size_t len = tbs + append(out + tbs, parts, SIGNATURE_ALGORITHM, REST);
  size_t whole = wrap(out, len);
  *out_spki = pv_slice_of(out + before + (tbs - inner) + (whole - len), spki);
  return whole + append(out + whole, parts, REST, PARTS);
}

#endif  // CERTIFICATE_H
