// SPDX-License-Identifier: Apache-2.0
//
// Invariant of the walk beside OpenSSL's parser, for any octets:
//
// - What OpenSSL parses as a certificate and gives back (i2d_X509, which is what the guard is handed), the
//   walk takes, and the key that it finds there is the one that OpenSSL has.
// - What the walk takes, OpenSSL takes to its last octet, and gives back as it stands.
// - SHA-256 is OpenSSL's SHA-256, whichever code computes it.
//
// What differs is understood, and is named below. Of what OpenSSL alone takes: is_too_large, is_not_der,
// keeps_what_is_not_der. Of what the walk alone takes: fields_are_for_openssl. Of what comes back in other
// octets: keeps_parameters. README.md says why each is as it should be; anything else aborts.

#include "fuzz.h"

#include <openssl/asn1t.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "mutate_der.h"
#include "pv_cert.h"
#include "pv_der.h"
#include "pv_sha256.h"

// written makes a slice of what an i2d function has allocated. With none, OpenSSL could not write it.
static pv_slice written(int len, uint8_t *octets) { return pv_slice_of(octets, len < 0 ? 0 : (size_t)len); }

static void release(pv_slice octets) { OPENSSL_free((void *)(uintptr_t)octets.data); }

static pv_slice give_back(X509 *cert) {
  uint8_t *octets = NULL;
  int len = i2d_X509(cert, &octets);
  return written(len, octets);
}

static int is_element(pv_slice octets) {
  size_t header, contents;
  return find_element(octets, &header, &contents) && header + contents == octets.len;
}

// -- The key that both have --

// enter takes the next element, which must be there, and gives its contents.
static pv_slice enter(pv_slice *in) {
  pv_slice contents, element;
  uint8_t tag;
  REQUIRE(pv_der_any(in, &tag, &contents, &element));
  return contents;
}

// parameters_of gives the parameters of an algorithm as OpenSSL writes them, which may be none.
static pv_slice parameters_of(const X509_ALGOR *algorithm) {
  uint8_t *octets = NULL;
  if (algorithm->parameter == NULL) return pv_slice_of(NULL, 0);
  int len = i2d_ASN1_TYPE(algorithm->parameter, &octets);
  return written(len, octets);
}

// keeps_parameters returns 1 unless OpenSSL writes other parameters than |found|. The walk takes them as one
// element and does not look into it.
static int keeps_parameters(const X509_ALGOR *algorithm, pv_slice found) {
  pv_slice again = parameters_of(algorithm);
  int kept = equal(again, found);
  release(again);
  return kept;
}

// check_key compares the key that the walk found with the one that OpenSSL has: the algorithm, the bits, and
// how OpenSSL writes the whole.
static void check_key(const X509 *cert, pv_slice spki) {
  X509_PUBKEY *key = X509_get_X509_PUBKEY(cert);
  const ASN1_BIT_STRING *bits = X509_get0_pubkey_bitstr(cert);
  ASN1_OBJECT *oid;
  X509_ALGOR *algorithm;
  pv_slice element = spki, members = enter(&element), fields = enter(&members), found = enter(&fields);
  pv_slice string = enter(&members);
  REQUIRE(X509_PUBKEY_get0_param(&oid, NULL, NULL, &algorithm, key) == 1);
  REQUIRE(equal(found, pv_slice_of(OBJ_get0_data(oid), OBJ_length(oid))));
  REQUIRE(equal(pv_slice_of(string.data + 1, string.len - 1), pv_slice_of(bits->data, (size_t)bits->length)));
  REQUIRE(string.data[0] == (bits->length == 0 ? 0 : bits->flags & 7));
  if (!keeps_parameters(algorithm, fields)) return;
  uint8_t *octets = NULL;
  int len = i2d_X509_PUBKEY(key, &octets);
  pv_slice whole = written(len, octets);
  REQUIRE(equal(whole, spki));
  release(whole);
}

// -- What OpenSSL takes and the walk refuses --

static int is_too_large(pv_slice cert, enum pv_status status) {
  return cert.len > 4 + PV_DER_MAX_CONTENTS && status == PV_BAD_CERTIFICATE;
}

// has_foreign_parameters returns 1 if OpenSSL writes parameters of an algorithm that are no element as the
// walk knows them: it keeps a SEQUENCE in the octets in which it came, and knows high tag numbers.
static int has_foreign_parameters(const X509_ALGOR *algorithm) {
  pv_slice parameters = parameters_of(algorithm);
  int foreign = parameters.len != 0 && !is_element(parameters);
  release(parameters);
  return foreign;
}

static int has_foreign_name(const X509_NAME *name) {
  const uint8_t *octets;
  size_t len;
  if (X509_NAME_get0_der(name, &octets, &len) != 1) return 0;
  return octets[0] != PV_DER_SEQUENCE || !is_element(pv_slice_of(octets, len));
}

// keeps_what_is_not_der returns 1 if the field that the walk refuses is one that OpenSSL gives back in the
// octets in which it came, and these are not DER.
static int keeps_what_is_not_der(const X509 *cert, enum pv_status status) {
  const X509_ALGOR *algorithm = NULL;
  X509_ALGOR *of_key = NULL;
  switch (status) {
    case PV_BAD_SIGNATURE:
      return has_foreign_parameters(X509_get0_tbs_sigalg(cert));
    case PV_BAD_ISSUER:
      return has_foreign_name(X509_get_issuer_name(cert));
    case PV_BAD_SUBJECT:
      return has_foreign_name(X509_get_subject_name(cert));
    case PV_BAD_SPKI_ALGORITHM:
      REQUIRE(X509_PUBKEY_get0_param(NULL, NULL, NULL, &of_key, X509_get_X509_PUBKEY(cert)) == 1);
      return has_foreign_parameters(of_key);
    case PV_BAD_SIGNATURE_ALGORITHM:
      X509_get0_signature(NULL, &algorithm, cert);
      return has_foreign_parameters(algorithm);
    default:
      return 0;
  }
}

// is_not_der returns 1 if what OpenSSL gives back is not what it would write itself, and the walk takes that.
// OpenSSL reads BER, and keeps tbsCertificate in the octets in which it came.
static int is_not_der(X509 *cert, pv_slice given) {
  pv_slice spki;
  REQUIRE(i2d_re_X509_tbs(cert, NULL) > 0);
  pv_slice again = give_back(cert);
  enum pv_status status = pv_cert_spki(again, &spki);
  int understood = !equal(again, given);
  if (status == PV_OK) {
    check_key(cert, spki);
  } else {
    understood &= keeps_what_is_not_der(cert, status) || is_too_large(again, status);
  }
  release(again);
  return understood;
}

static void check_theirs(X509 *cert) {
  pv_slice given = give_back(cert), spki;
  if (given.len == 0) return;  // nothing that the guard could be handed, and it refuses
  enum pv_status status = pv_cert_spki(given, &spki);
  if (status == PV_OK) {
    check_key(cert, spki);
  } else {
    REQUIRE(is_too_large(given, status) || keeps_what_is_not_der(cert, status) || is_not_der(cert, given));
  }
  release(given);
}

// -- What the walk takes and OpenSSL refuses --

// is_for_openssl takes the next element and returns 1 if OpenSSL, given nothing but it, takes it as a |type|.
static int is_for_openssl(pv_slice *in, const ASN1_ITEM *type) {
  pv_slice contents, element;
  uint8_t tag;
  REQUIRE(pv_der_any(in, &tag, &contents, &element));
  const uint8_t *at = element.data;
  ASN1_VALUE *value = ASN1_item_d2i(NULL, &at, (long)element.len, type);
  int taken = value != NULL && at == element.data + element.len;
  ASN1_item_free(value, type);
  return taken;
}

// algorithm_is_for_openssl takes an AlgorithmIdentifier, and asks for its two members one by one: how many
// there are is the walk's business. Parameters that are end-of-contents octets (X.690 8.1.5) OpenSSL takes
// alone, but not within a SEQUENCE.
static int algorithm_is_for_openssl(pv_slice *in) {
  static const uint8_t end_of_contents[2] = {0, 0};
  pv_slice members = enter(in);
  if (!is_for_openssl(&members, ASN1_ITEM_rptr(ASN1_OBJECT))) return 0;
  if (equal(members, pv_slice_of(end_of_contents, 2))) return 0;
  return members.len == 0 || is_for_openssl(&members, ASN1_ITEM_rptr(ASN1_ANY));
}

// fields_are_for_openssl asks for each element that the walk takes without looking into it, in the order of
// RFC 5280 4.1. BIT STRINGs are not among them: the walk looks at all that there is to them.
static int fields_are_for_openssl(pv_slice cert) {
  pv_slice fields = enter(&cert), tbs = enter(&fields);
  int taken = 1;
  if (pv_der_next_is(tbs, PV_DER_CONTEXT_CONSTRUCTED(0))) {
    pv_slice version = enter(&tbs);
    taken &= is_for_openssl(&version, ASN1_ITEM_rptr(ASN1_INTEGER));
  }
  taken &= is_for_openssl(&tbs, ASN1_ITEM_rptr(ASN1_INTEGER));
  taken &= algorithm_is_for_openssl(&tbs);
  taken &= is_for_openssl(&tbs, ASN1_ITEM_rptr(X509_NAME));
  taken &= is_for_openssl(&tbs, ASN1_ITEM_rptr(X509_VAL));
  taken &= is_for_openssl(&tbs, ASN1_ITEM_rptr(X509_NAME));
  pv_slice key = enter(&tbs);
  taken &= algorithm_is_for_openssl(&key);
  if (pv_der_next_is(tbs, PV_DER_CONTEXT(1))) (void)enter(&tbs);
  if (pv_der_next_is(tbs, PV_DER_CONTEXT(2))) (void)enter(&tbs);
  if (pv_der_next_is(tbs, PV_DER_CONTEXT_CONSTRUCTED(3))) {
    pv_slice extensions = enter(&tbs);
    taken &= is_for_openssl(&extensions, ASN1_ITEM_rptr(X509_EXTENSIONS));
  }
  return taken & algorithm_is_for_openssl(&fields);
}

// outer_parameters gives those of signatureAlgorithm.
static pv_slice outer_parameters(pv_slice cert) {
  pv_slice fields = enter(&cert);
  (void)enter(&fields);
  pv_slice algorithm = enter(&fields);
  (void)enter(&algorithm);
  return algorithm;
}

static void check_ours(pv_slice cert, X509 *theirs, size_t taken) {
  pv_slice spki;
  if (pv_cert_spki(cert, &spki) != PV_OK) return;
  if (theirs == NULL) {
    REQUIRE(!fields_are_for_openssl(cert));
    return;
  }
  const X509_ALGOR *algorithm;
  REQUIRE(taken == cert.len);
  check_key(theirs, spki);
  X509_get0_signature(NULL, &algorithm, theirs);
  pv_slice given = give_back(theirs);
  REQUIRE(equal(given, cert) || !keeps_parameters(algorithm, outer_parameters(cert)));
  release(given);
}

// -- SHA-256 --

static void check_sha256(pv_slice octets) {
  static const char *const backends[] = {"portable", "x86-sha", "armv8-sha2"};
  uint8_t theirs[32], ours[32];
  REQUIRE(SHA256(octets.data, octets.len, theirs) != NULL);
  for (size_t i = 0; i < COUNT(backends); i++) {
    if (!pv_sha256_use(backends[i])) continue;  // not of this CPU
    pv_sha256(octets.data, octets.len, ours);
    REQUIRE(memcmp(ours, theirs, sizeof ours) == 0);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct copy copy = copy_of(pv_slice_of(data, size));
  const uint8_t *at = copy.octets.data;
  X509 *theirs = d2i_X509(NULL, &at, (long)size);
  check_ours(copy.octets, theirs, (size_t)(at - copy.octets.data));
  if (theirs != NULL) check_theirs(theirs);
  check_sha256(copy.octets);
  X509_free(theirs);
  free(copy.memory);
  return 0;
}
