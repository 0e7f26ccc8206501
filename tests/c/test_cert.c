// SPDX-License-Identifier: Apache-2.0
//
// The walk over a certificate: a vector for each defect, named for it, each ending at a page that is not
// mapped. Real certificates are walked in tests/test_vectors.py, beside OpenSSL and the engine in Python.

#include "check.h"

#include "certificate.h"
#include "pv_cert.h"
#include "pv_der.h"

#define SIXTY_FOUR_KIB 0x10000

static uint8_t big[SIXTY_FOUR_KIB + 64];  // an element whose contents are one octet too many

static const struct {
  const char *why;
  enum part part;
  pv_slice octets;
  enum pv_status status;
} vectors[] = {
    {"version 3", VERSION, OCTETS("\xa0\x03\x02\x01\x02"), PV_OK},
    {"version: empty", VERSION, OCTETS("\xa0\x00"), PV_BAD_VERSION},
    {"version: no INTEGER", VERSION, OCTETS("\xa0\x03\x04\x01\x02"), PV_BAD_VERSION},
    {"version: two of them", VERSION, OCTETS("\xa0\x06\x02\x01\x02\x02\x01\x02"), PV_BAD_VERSION},
    {"version: primitive", VERSION, OCTETS("\x80\x03\x02\x01\x02"), PV_BAD_SERIAL},
    {"version: indefinite length", VERSION, OCTETS("\xa0\x80\x02\x01\x02\x00\x00"), PV_BAD_VERSION},
    {"serial: missing", SERIAL, OCTETS(""), PV_BAD_SERIAL},
    {"serial: OCTET STRING", SERIAL, OCTETS("\x04\x01\x07"), PV_BAD_SERIAL},
    {"serial: length not minimal", SERIAL, OCTETS("\x02\x81\x01\x07"), PV_BAD_SERIAL},
    {"signature: missing", SIGNATURE, OCTETS(""), PV_BAD_SIGNATURE},
    {"signature: no OID", SIGNATURE, OCTETS("\x30\x02\x05\x00"), PV_BAD_SIGNATURE},
    {"signature: empty", SIGNATURE, OCTETS("\x30\x00"), PV_BAD_SIGNATURE},
    {"signature: with parameters", SIGNATURE, OCTETS("\x30\x07\x06\x03\x2b\x65\x70\x05\x00"), PV_OK},
    {"signature: two parameters", SIGNATURE, OCTETS("\x30\x09\x06\x03\x2b\x65\x70\x05\x00\x05\x00"),
     PV_BAD_SIGNATURE},
    {"signature: parameters cut short", SIGNATURE, OCTETS("\x30\x06\x06\x03\x2b\x65\x70\x05"),
     PV_BAD_SIGNATURE},
    {"issuer: SET", ISSUER, OCTETS("\x31\x00"), PV_BAD_ISSUER},
    {"issuer: missing, so that the key is taken for the subject", ISSUER, OCTETS(""), PV_BAD_SPKI},
    {"validity: length not minimal", VALIDITY, OCTETS("\x30\x81\x00"), PV_BAD_VALIDITY},
    {"validity: length not minimal, two octets", VALIDITY, OCTETS("\x30\x82\x00\x00"), PV_BAD_VALIDITY},
    {"validity: indefinite length", VALIDITY, OCTETS("\x30\x80\x00\x00"), PV_BAD_VALIDITY},
    {"validity: a UTCTime alone", VALIDITY, OCTETS("\x17\x00"), PV_BAD_VALIDITY},
    {"subject: SET", SUBJECT, OCTETS("\x31\x00"), PV_BAD_SUBJECT},
    {"subject: reaches past tbsCertificate", SUBJECT, OCTETS("\x30\x7f"), PV_BAD_SUBJECT},
    {"SPKI algorithm: missing", SPKI_ALGORITHM, OCTETS(""), PV_BAD_SPKI_ALGORITHM},
    {"SPKI algorithm: no OID", SPKI_ALGORITHM, OCTETS("\x30\x02\x05\x00"), PV_BAD_SPKI_ALGORITHM},
    {"SPKI algorithm: two parameters", SPKI_ALGORITHM, OCTETS("\x30\x09\x06\x03\x2b\x65\x70\x05\x00\x05\x00"),
     PV_BAD_SPKI_ALGORITHM},
    {"SPKI key: missing", SPKI_KEY, OCTETS(""), PV_BAD_SPKI_KEY},
    {"SPKI key: OCTET STRING", SPKI_KEY, OCTETS("\x04\x02\x00k"), PV_BAD_SPKI_KEY},
    {"SPKI key: without the count of unused bits", SPKI_KEY, OCTETS("\x03\x00"), PV_BAD_SPKI_KEY},
    {"SPKI key: 8 unused bits", SPKI_KEY, OCTETS("\x03\x02\x08k"), PV_BAD_SPKI_KEY},
    {"SPKI key: an unused bit set", SPKI_KEY, OCTETS("\x03\x02\x01\xff"), PV_BAD_SPKI_KEY},
    {"SPKI key: constructed BIT STRING", SPKI_KEY, OCTETS("\x23\x04\x03\x02\x00k"), PV_BAD_SPKI_KEY},
    {"SPKI: a third member", SPKI_REST, OCTETS("\x05\x00"), PV_BAD_SPKI},
    {"SPKI: one octet more", SPKI_REST, OCTETS("\x00"), PV_BAD_SPKI},
    {"[1]", ISSUER_UID, OCTETS("\x81\x02\x00u"), PV_OK},
    {"[1] constructed", ISSUER_UID, OCTETS("\xa1\x04\x03\x02\x00u"), PV_BAD_TBS_TRAILING},
    {"[1] no BIT STRING", ISSUER_UID, OCTETS("\x81\x00"), PV_BAD_ISSUER_UID},
    {"[2]", SUBJECT_UID, OCTETS("\x82\x02\x00u"), PV_OK},
    {"[2] ahead of [1]", ISSUER_UID, OCTETS("\x82\x02\x00u\x81\x02\x00u"), PV_BAD_TBS_TRAILING},
    {"[2] twice", SUBJECT_UID, OCTETS("\x82\x02\x00u\x82\x02\x00u"), PV_BAD_TBS_TRAILING},
    {"[2] 8 unused bits", SUBJECT_UID, OCTETS("\x82\x02\x08u"), PV_BAD_SUBJECT_UID},
    {"[3]", EXTENSIONS, OCTETS("\xa3\x02\x30\x00"), PV_OK},
    {"[3] empty", EXTENSIONS, OCTETS("\xa3\x00"), PV_BAD_EXTENSIONS},
    {"[3] without its SEQUENCE", EXTENSIONS, OCTETS("\xa3\x02\x05\x00"), PV_BAD_EXTENSIONS},
    {"[3] two SEQUENCEs", EXTENSIONS, OCTETS("\xa3\x04\x30\x00\x30\x00"), PV_BAD_EXTENSIONS},
    {"[3] twice", EXTENSIONS, OCTETS("\xa3\x02\x30\x00\xa3\x02\x30\x00"), PV_BAD_TBS_TRAILING},
    {"[4]", TBS_REST, OCTETS("\xa4\x00"), PV_BAD_TBS_TRAILING},
    {"a second key behind the first", TBS_REST, OCTETS("\x30\x00"), PV_BAD_TBS_TRAILING},
    {"tbsCertificate: one octet more", TBS_REST, OCTETS("\x00"), PV_BAD_TBS_TRAILING},
    {"high tag number", TBS_REST, OCTETS("\xbf\x1f\x00"), PV_BAD_TBS_TRAILING},
    {"signatureAlgorithm: missing", SIGNATURE_ALGORITHM, OCTETS(""), PV_BAD_SIGNATURE_ALGORITHM},
    {"signatureAlgorithm: no OID", SIGNATURE_ALGORITHM, OCTETS("\x30\x00"), PV_BAD_SIGNATURE_ALGORITHM},
    {"signatureValue: missing", SIGNATURE_VALUE, OCTETS(""), PV_BAD_SIGNATURE_VALUE},
    {"signatureValue: OCTET STRING", SIGNATURE_VALUE, OCTETS("\x04\x02\x00s"), PV_BAD_SIGNATURE_VALUE},
    {"signatureValue: 8 unused bits", SIGNATURE_VALUE, OCTETS("\x03\x02\x08s"), PV_BAD_SIGNATURE_VALUE},
    {"certificate: a fourth member", CERTIFICATE_REST, OCTETS("\x05\x00"), PV_BAD_CERTIFICATE_TRAILING},
    {"certificate: one octet more", CERTIFICATE_REST, OCTETS("\x00"), PV_BAD_CERTIFICATE_TRAILING},
    {"an octet behind the certificate", REST, OCTETS("\x00"), PV_BAD_TRAILING},
    {"another certificate behind it", REST, OCTETS("\x30\x00"), PV_BAD_TRAILING},
    {"64 KiB of extensions", EXTENSIONS, {big, sizeof big}, PV_BAD_CERTIFICATE},
};

static const pv_slice untouched = {(const uint8_t *)"untouched", 9};
static uint8_t buffer[2 * SIXTY_FOUR_KIB];

// walk expects |status| of the first |len| octets of |buffer|, and on success the |spki| that is in them.
static void walk(const char *why, size_t len, enum pv_status status, pv_slice spki) {
  const uint8_t *octets = guarded(buffer, len);
  pv_slice found = untouched;
  CHECK_NAMED(pv_cert_spki(pv_slice_of(octets, len), &found) == status, why);
  if (status == PV_OK) {
    CHECK_NAMED(found.data == octets + (spki.data - buffer) && found.len == spki.len, why);
  } else {
    CHECK_NAMED(found.data == untouched.data && found.len == untouched.len, why);
  }
}

static void test_vectors(void) {
  pv_slice parts[PARTS], spki;
  memcpy(big, "\xa3\x83\x01\x00\x3b", 5);
  walk("minimal", assemble(minimal, buffer, &spki), PV_OK, spki);
  CHECK(spki.len == 16 && spki.data[0] == 0x30 && spki.data[1] == 14);
  for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
    memcpy(parts, minimal, sizeof parts);
    parts[vectors[i].part] = vectors[i].octets;
    walk(vectors[i].why, assemble(parts, buffer, &spki), vectors[i].status, spki);
  }
}

// Every optional part at once; cut short anywhere, or with one octet changed, it never crashes, and what is
// cut short is never taken.
static void test_truncations_and_changes(void) {
  pv_slice parts[PARTS], spki, found;
  memcpy(parts, minimal, sizeof parts);
  parts[VERSION] = vectors[0].octets;
  parts[ISSUER_UID] = (pv_slice)OCTETS("\x81\x02\x00u");
  parts[SUBJECT_UID] = (pv_slice)OCTETS("\x82\x02\x00u");
  parts[EXTENSIONS] = (pv_slice)OCTETS("\xa3\x02\x30\x00");
  size_t len = assemble(parts, buffer, &spki);
  walk("all parts", len, PV_OK, spki);
  for (size_t cut = 0; cut < len; cut++) walk("cut short", cut, PV_BAD_CERTIFICATE, spki);
  for (size_t i = 0; i < len; i++) {
    uint8_t *octets = guarded(buffer, len);
    for (unsigned value = 0; value < 256; value++) {
      octets[i] = (uint8_t)value;
      found = untouched;
      if (pv_cert_spki(pv_slice_of(octets, len), &found) != PV_OK) CHECK(found.data == untouched.data);
      if (found.data != untouched.data) CHECK(found.len <= len && found.data >= octets);
    }
  }
}

// The largest certificate that is taken has contents of PV_DER_MAX_CONTENTS octets; one octet more is
// refused.
static void test_size(void) {
  pv_slice parts[PARTS], spki;
  int taken = 0, refused = 0;
  memcpy(parts, minimal, sizeof parts);
  memset(big, 0, sizeof big);
  for (size_t size = 0xff80; size <= 0xffff - 4; size++) {  // of the SEQUENCE in [3]
    memcpy(big, "\xa3\x82..\x30\x82..", 8);
    big[2] = (uint8_t)((size + 4) >> 8), big[3] = (uint8_t)(size + 4);
    big[6] = (uint8_t)(size >> 8), big[7] = (uint8_t)size;
    parts[EXTENSIONS] = pv_slice_of(big, size + 8);
    size_t len = assemble(parts, buffer, &spki);
    int fits = len <= 4 + PV_DER_MAX_CONTENTS;
    walk("size", len, fits ? PV_OK : PV_BAD_CERTIFICATE, spki);
    fits ? taken++ : refused++;
  }
  CHECK(taken != 0 && refused != 0);
}

int main(void) {
  test_vectors();
  test_truncations_and_changes();
  test_size();
  return check_summary();
}
