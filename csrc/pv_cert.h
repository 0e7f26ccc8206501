// SPDX-License-Identifier: Apache-2.0
//
// From a DER certificate to the key that a pin is a hash of.

#ifndef PV_CERT_H
#define PV_CERT_H

#include "pv_slice.h"

// pv_status is PV_OK or the first part of the certificate that is not as RFC 5280 4.1 has it. Zero is not
// success, so that memory which was never written does not read as a certificate.
enum pv_status {
  PV_STATUS_UNSET = 0,
  PV_OK = 1,
  PV_BAD_CERTIFICATE,           // the outer SEQUENCE: missing, cut short, or over 65,535 octets
  PV_BAD_TRAILING,              // octets after the certificate
  PV_BAD_TBS,                   // tbsCertificate
  PV_BAD_VERSION,               // [0] version
  PV_BAD_SERIAL,                // serialNumber
  PV_BAD_SIGNATURE,             // tbsCertificate.signature
  PV_BAD_ISSUER,                // issuer
  PV_BAD_VALIDITY,              // validity
  PV_BAD_SUBJECT,               // subject
  PV_BAD_SPKI,                  // subjectPublicKeyInfo, or octets after its two members
  PV_BAD_SPKI_ALGORITHM,        // subjectPublicKeyInfo.algorithm
  PV_BAD_SPKI_KEY,              // subjectPublicKeyInfo.subjectPublicKey
  PV_BAD_ISSUER_UID,            // [1] issuerUniqueID
  PV_BAD_SUBJECT_UID,           // [2] subjectUniqueID
  PV_BAD_EXTENSIONS,            // [3] extensions
  PV_BAD_TBS_TRAILING,          // octets after the last field of tbsCertificate
  PV_BAD_SIGNATURE_ALGORITHM,   // signatureAlgorithm
  PV_BAD_SIGNATURE_VALUE,       // signatureValue
  PV_BAD_CERTIFICATE_TRAILING,  // octets after signatureValue, inside the certificate
};

// pv_cert_spki sets |*out_spki| to the whole SubjectPublicKeyInfo element of the DER certificate |cert|. The
// slice borrows from |cert|. On any status but PV_OK, |*out_spki| is untouched.
//
// RFC 5280 4.1: every field is walked, with its tag checked and each level that is entered consumed to its
// last octet. What names, dates and extensions say is OpenSSL's business; a pin asserts the key and nothing
// else.
PV_MUST_USE enum pv_status pv_cert_spki(pv_slice cert, pv_slice *out_spki);

#endif  // PV_CERT_H
