// SPDX-License-Identifier: Apache-2.0

#include "pv_cert.h"

#include "pv_der.h"

// get_algorithm takes an AlgorithmIdentifier, RFC 5280 4.1.1.2: an OID and at most one element of parameters.
static PV_MUST_USE int get_algorithm(pv_slice *in) {
  pv_slice algorithm, contents, element;
  uint8_t tag;
  if (!pv_der_get(in, PV_DER_SEQUENCE, &algorithm) || !pv_der_skip(&algorithm, PV_DER_OID)) return 0;
  if (algorithm.len == 0) return 1;
  return pv_der_any(&algorithm, &tag, &contents, &element) && algorithm.len == 0;
}

static PV_MUST_USE int get_bit_string(pv_slice *in, uint8_t tag) {
  pv_slice contents;
  return pv_der_get(in, tag, &contents) && pv_der_is_bit_string(contents);
}

// get_optional_explicit takes [n] EXPLICIT around exactly one element with the tag |inner|, if it is there at
// all.
static PV_MUST_USE int get_optional_explicit(pv_slice *in, uint8_t outer, uint8_t inner) {
  pv_slice contents;
  if (!pv_der_next_is(*in, outer)) return 1;
  return pv_der_get(in, outer, &contents) && pv_der_skip(&contents, inner) && contents.len == 0;
}

static PV_MUST_USE int get_optional_bit_string(pv_slice *in, uint8_t tag) {
  return !pv_der_next_is(*in, tag) || get_bit_string(in, tag);
}

// get_spki takes a SubjectPublicKeyInfo, RFC 5280 4.1.2.7, and gives all of it.
static PV_MUST_USE enum pv_status get_spki(pv_slice *in, pv_slice *out_spki) {
  pv_slice contents, element;
  uint8_t tag;
  if (!pv_der_any(in, &tag, &contents, &element) || tag != PV_DER_SEQUENCE) return PV_BAD_SPKI;
  if (!get_algorithm(&contents)) return PV_BAD_SPKI_ALGORITHM;
  if (!get_bit_string(&contents, PV_DER_BIT_STRING)) return PV_BAD_SPKI_KEY;
  if (contents.len != 0) return PV_BAD_SPKI;
  *out_spki = element;
  return PV_OK;
}

// walk_tbs goes through a TBSCertificate, RFC 5280 4.1.2, in the order of its fields.
static PV_MUST_USE enum pv_status walk_tbs(pv_slice tbs, pv_slice *out_spki) {
  pv_slice spki;
  if (!get_optional_explicit(&tbs, PV_DER_CONTEXT_CONSTRUCTED(0), PV_DER_INTEGER)) return PV_BAD_VERSION;
  if (!pv_der_skip(&tbs, PV_DER_INTEGER)) return PV_BAD_SERIAL;
  if (!get_algorithm(&tbs)) return PV_BAD_SIGNATURE;
  if (!pv_der_skip(&tbs, PV_DER_SEQUENCE)) return PV_BAD_ISSUER;
  if (!pv_der_skip(&tbs, PV_DER_SEQUENCE)) return PV_BAD_VALIDITY;
  if (!pv_der_skip(&tbs, PV_DER_SEQUENCE)) return PV_BAD_SUBJECT;
  enum pv_status status = get_spki(&tbs, &spki);
  if (status != PV_OK) return status;
  if (!get_optional_bit_string(&tbs, PV_DER_CONTEXT(1))) return PV_BAD_ISSUER_UID;
  if (!get_optional_bit_string(&tbs, PV_DER_CONTEXT(2))) return PV_BAD_SUBJECT_UID;
  if (!get_optional_explicit(&tbs, PV_DER_CONTEXT_CONSTRUCTED(3), PV_DER_SEQUENCE)) return PV_BAD_EXTENSIONS;
  if (tbs.len != 0) return PV_BAD_TBS_TRAILING;
  *out_spki = spki;
  return PV_OK;
}

enum pv_status pv_cert_spki(pv_slice cert, pv_slice *out_spki) {
  pv_slice fields, tbs, spki;
  if (!pv_der_get(&cert, PV_DER_SEQUENCE, &fields)) return PV_BAD_CERTIFICATE;
  if (cert.len != 0) return PV_BAD_TRAILING;
  if (!pv_der_get(&fields, PV_DER_SEQUENCE, &tbs)) return PV_BAD_TBS;
  enum pv_status status = walk_tbs(tbs, &spki);
  if (status != PV_OK) return status;
  if (!get_algorithm(&fields)) return PV_BAD_SIGNATURE_ALGORITHM;
  if (!get_bit_string(&fields, PV_DER_BIT_STRING)) return PV_BAD_SIGNATURE_VALUE;
  if (fields.len != 0) return PV_BAD_CERTIFICATE_TRAILING;
  *out_spki = spki;
  return PV_OK;
}
