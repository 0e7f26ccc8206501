// SPDX-License-Identifier: Apache-2.0
//
// The walk over a certificate: a vector for each defect, named for it, in a minimal and in real certificates,
// each ending at a page that is not mapped. Many more real ones are walked in tests/test_vectors.py, beside
// OpenSSL and the engine in Python.

#include "check.h"

#include "certificate.h"
#include "pv_cert.h"
#include "pv_der.h"
#include "pv_sha256.h"
#include "vectors.h"

#define SIXTY_FOUR_KIB 0x10000

static uint8_t big[SIXTY_FOUR_KIB + 64];  // an element whose contents are one octet too many

static const struct {
  const char *why;
  enum part part;
  pv_slice octets;
  enum pv_status status;
} vectors[] = {
    {"version 3", VERSION, OCTETS("\xa0\x03\x02\x01\x02"), PV_OK},
    {"version: none, which is 1", VERSION, OCTETS(""), PV_OK},
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
    {"validity: length of three octets", VALIDITY, OCTETS("\x30\x83\x00\x00\x00"), PV_BAD_VALIDITY},
    {"validity: indefinite length", VALIDITY, OCTETS("\x30\x80\x00\x00"), PV_BAD_VALIDITY},
    {"validity: a UTCTime alone", VALIDITY, OCTETS("\x17\x00"), PV_BAD_VALIDITY},
    {"subject: SET", SUBJECT, OCTETS("\x31\x00"), PV_BAD_SUBJECT},
    {"subject: reaches past tbsCertificate", SUBJECT, OCTETS("\x30\x82\xff\xff"), PV_BAD_SUBJECT},
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
    {"no extensions", EXTENSIONS, OCTETS(""), PV_OK},
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
static int seen[PV_BAD_CERTIFICATE_TRAILING + 1];  // each status must have come up in the end

// walk expects |status| of the first |len| octets of |buffer|, and on success the |spki| that is in them.
static void walk(const char *why, size_t len, enum pv_status status, pv_slice spki) {
  const uint8_t *octets = guarded(buffer, len);
  pv_slice found = untouched;
  seen[status] = 1;
  CHECK_NAMED(pv_cert_spki(pv_slice_of(octets, len), &found) == status, why);
  if (status == PV_OK) {
    CHECK_NAMED(found.data == octets + (spki.data - buffer) && found.len == spki.len, why);
  } else {
    CHECK_NAMED(found.data == untouched.data && found.len == untouched.len, why);
  }
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define BASES (2 + COUNT(real))

// base gives the parts of a certificate without defects: a minimal one, one with every optional part, real
// ones.
static const pv_slice *base(size_t i) {
  static pv_slice all[PARTS];
  if (i == 0) return minimal;
  if (i > 1) return real[i - 2].parts;
  memcpy(all, minimal, sizeof all);
  all[VERSION] = (pv_slice)OCTETS("\xa0\x03\x02\x01\x02");
  all[ISSUER_UID] = (pv_slice)OCTETS("\x81\x02\x00u");
  all[SUBJECT_UID] = (pv_slice)OCTETS("\x82\x02\x00u");
  all[EXTENSIONS] = (pv_slice)OCTETS("\xa3\x02\x30\x00");
  return all;
}

static int has_digest(const uint8_t *octets, size_t len, const char *sha256) {
  uint8_t digest[PV_SHA256_SIZE];
  pv_sha256(octets, len, digest);
  return memcmp(digest, sha256, sizeof digest) == 0;
}

// The walk finds the keys where `cryptography` has them: what they hash to are the pins.
static void test_real(void) {
  for (size_t i = 0; i < COUNT(real); i++) {
    pv_slice spki;
    size_t len = assemble(real[i].parts, buffer, &spki);
    CHECK_NAMED(has_digest(buffer, len, real[i].certificate_sha256), real[i].name);
    spki = pv_slice_of(buffer + real[i].spki_offset, real[i].spki_len);
    CHECK_NAMED(has_digest(spki.data, spki.len, real[i].spki_sha256), real[i].name);
    walk(real[i].name, len, PV_OK, spki);
  }
}

static void test_vectors(void) {
  pv_slice parts[PARTS], spki;
  memcpy(big, "\xa3\x83\x01\x00\x3b", 5);
  for (size_t b = 0; b < BASES; b++) {
    walk("no defect", assemble(base(b), buffer, &spki), PV_OK, spki);
    for (size_t i = 0; i < COUNT(vectors); i++) {
      memcpy(parts, base(b), sizeof parts);
      parts[vectors[i].part] = vectors[i].octets;
      walk(vectors[i].why, assemble(parts, buffer, &spki), vectors[i].status, spki);
    }
  }
}

// The headers of the levels that are entered: a tag other than SEQUENCE's, and lengths that DER does not have
// or that reach too far.
static void test_levels(void) {
  static const uint8_t lengths[] = {0x7f, 0x80, 0x81, 0x83, 0xff};
  pv_slice spki;
  for (size_t b = 0; b < BASES; b++) {
    size_t len = assemble(base(b), buffer, &spki);
    size_t tbs = 2 + (buffer[1] < 0x80 ? 0 : buffer[1] & 0x7fU);
    size_t starts[] = {0, tbs, (size_t)(spki.data - buffer)};
    enum pv_status statuses[] = {PV_BAD_CERTIFICATE, PV_BAD_TBS, PV_BAD_SPKI};
    for (size_t level = 0; level < COUNT(starts); level++) {
      uint8_t *header = buffer + starts[level], tag = header[0], length = header[1];
      for (unsigned value = 0; value < 256; value++) {
        header[0] = (uint8_t)value;
        walk("tag of a level", len, value == tag ? PV_OK : statuses[level], spki);
      }
      header[0] = tag;
      for (size_t i = length < 0x80 ? 0 : 1; i < COUNT(lengths); i++) {
        header[1] = lengths[i];
        if (lengths[i] != length) walk("length of a level", len, statuses[level], spki);
      }
      header[1] = length;
    }
  }
  walk("nothing", 0, PV_BAD_CERTIFICATE, spki);
  memcpy(buffer, "\x30\x00", 2);
  walk("an empty SEQUENCE", 2, PV_BAD_TBS, spki);
}

// Cut short anywhere or with any octet behind it, no certificate is taken.
static void test_ends(void) {
  pv_slice spki;
  for (size_t b = 0; b < BASES; b++) {
    size_t len = assemble(base(b), buffer, &spki);
    for (size_t cut = 0; cut < len; cut++) walk("cut short", cut, PV_BAD_CERTIFICATE, spki);
    for (unsigned value = 0; value < 256; value++) {
      buffer[len] = (uint8_t)value;
      walk("an octet behind it", len + 1, PV_BAD_TRAILING, spki);
    }
  }
}

// With any one octet changed to anything the walk stays in bounds, and so does what it finds.
static void test_changes(void) {
  pv_slice spki;
  for (size_t b = 0; b < BASES; b++) {
    size_t len = assemble(base(b), buffer, &spki);
    uint8_t *octets = guarded(buffer, len);
    for (size_t i = 0; i < len; i++) {
      for (unsigned value = 0; value < 256; value++) {
        pv_slice found = untouched;
        octets[i] = (uint8_t)value;
        if (pv_cert_spki(pv_slice_of(octets, len), &found) != PV_OK) {
          CHECK(found.data == untouched.data && found.len == untouched.len);
        } else {
          CHECK(found.data > octets && found.len < len && found.data + found.len < octets + len);
        }
      }
      octets[i] = buffer[i];
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
  test_real();
  test_vectors();
  test_levels();
  test_ends();
  test_changes();
  test_size();
  for (int status = PV_OK; status <= PV_BAD_CERTIFICATE_TRAILING; status++) CHECK(seen[status]);
  return check_summary();
}
