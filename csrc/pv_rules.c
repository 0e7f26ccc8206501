// SPDX-License-Identifier: Apache-2.0

#include "pv_rules.h"

static struct pv_ruling refuse(enum pv_reason reason) { return (struct pv_ruling){PV_REFUSE, reason}; }

static struct pv_ruling go_on(enum pv_action action) { return (struct pv_ruling){action, PV_INTERNAL}; }

struct pv_ruling pv_rule_hello(struct pv_facts facts) {
  if (!facts.guarded) return refuse(PV_MOVED);
  if (!facts.announced) return refuse(PV_INTERNAL);
  if (!facts.resumed) return go_on(PV_PASS);
  // A session says neither under which trust anchors its chain was verified nor for which host.
  if (facts.moved || !(facts.is_server || facts.sole_host)) return refuse(PV_SESSION);
  return go_on(PV_JUDGE);
}

struct pv_ruling pv_rule_resumed(struct pv_facts facts, struct pv_verdict proof, struct pv_verdict standing) {
  if (proof.reason == PV_DENIED || proof.reason == PV_INTERNAL) return refuse(proof.reason);
  if (proof.reason != PV_PINNED) return refuse(PV_SESSION);
  if (standing.reason == PV_CHAIN_LENGTH) return (struct pv_ruling){PV_ACCEPT, PV_RESUMED};
  return pv_rule_judged(facts, standing);
}

struct pv_ruling pv_rule_own_certificate(struct pv_facts facts) {
  if (!facts.guarded) return refuse(PV_MOVED);
  if (!facts.is_server) return facts.proven ? go_on(PV_PASS) : refuse(PV_INTERNAL);
  if (!facts.announced) return refuse(PV_INTERNAL);
  return facts.moved ? refuse(PV_MOVED) : go_on(PV_PASS);
}

// is_waivable lists the OpenSSL errors that a pinned leaf makes up for in pins-only mode, where the key is
// the identity (RFC 7671 5.1): all that OpenSSL finds of its own accord in issuers, signatures, names, dates,
// purposes and extensions, as its own DANE-EE passes over. What is not listed refuses: a leaf's key that
// cannot be read or is too weak (66), a failure of OpenSSL itself, what a program has asked for besides, such
// as revocation lists, and whatever a later OpenSSL may add.
static PV_MUST_USE int is_waivable(int x509_error) {
  switch (x509_error) {
    case 2:   // X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT
    case 7:   // X509_V_ERR_CERT_SIGNATURE_FAILURE
    case 9:   // X509_V_ERR_CERT_NOT_YET_VALID
    case 10:  // X509_V_ERR_CERT_HAS_EXPIRED
    case 13:  // X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD
    case 14:  // X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD
    case 18:  // X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
    case 19:  // X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
    case 20:  // X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    case 21:  // X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE
    case 22:  // X509_V_ERR_CERT_CHAIN_TOO_LONG
    case 25:  // X509_V_ERR_PATH_LENGTH_EXCEEDED
    case 26:  // X509_V_ERR_INVALID_PURPOSE
    case 27:  // X509_V_ERR_CERT_UNTRUSTED
    case 32:  // X509_V_ERR_KEYUSAGE_NO_CERTSIGN
    case 34:  // X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION
    case 37:  // X509_V_ERR_INVALID_NON_CA
    case 38:  // X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED
    case 39:  // X509_V_ERR_KEYUSAGE_NO_DIGITAL_SIGNATURE
    case 40:  // X509_V_ERR_PROXY_CERTIFICATES_NOT_ALLOWED
    case 41:  // X509_V_ERR_INVALID_EXTENSION
    case 46:  // X509_V_ERR_UNNESTED_RESOURCE
    case 47:  // X509_V_ERR_PERMITTED_VIOLATION
    case 48:  // X509_V_ERR_EXCLUDED_VIOLATION
    case 49:  // X509_V_ERR_SUBTREE_MINMAX
    case 51:  // X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE
    case 52:  // X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX
    case 53:  // X509_V_ERR_UNSUPPORTED_NAME_SYNTAX
    case 62:  // X509_V_ERR_HOSTNAME_MISMATCH
    case 64:  // X509_V_ERR_IP_ADDRESS_MISMATCH
    case 67:  // X509_V_ERR_CA_KEY_TOO_SMALL
    case 68:  // X509_V_ERR_CA_MD_TOO_WEAK
    case 72:  // X509_V_ERR_PROXY_SUBJECT_NAME_VIOLATION
    case 79:  // X509_V_ERR_INVALID_CA
    case 94:  // X509_V_ERR_EC_KEY_EXPLICIT_PARAMS
      return 1;
    default:
      return 0;
  }
}

struct pv_ruling pv_rule_certificate(struct pv_facts facts) {
  if (!facts.announced) return refuse(PV_INTERNAL);
  if (facts.obstacle != PV_PINNED) return refuse(facts.obstacle);
  if (facts.ok != 1) {
    return facts.pins_only && is_waivable(facts.x509_error) ? go_on(PV_WAIVE) : refuse(PV_OPENSSL);
  }
  // The chain is judged as a whole, when all its signatures have been checked: at the leaf.
  return go_on(facts.depth > 0 ? PV_PASS : PV_JUDGE);
}

struct pv_ruling pv_rule_judged(struct pv_facts facts, struct pv_verdict verdict) {
  if (!verdict.accepted) return refuse(verdict.reason);
  // An entry that accepts for another reason relies on a CA and on a name, and here neither is looked at.
  if (facts.pins_only && verdict.reason != PV_PINNED) return refuse(PV_OPENSSL);
  return (struct pv_ruling){PV_ACCEPT, verdict.reason};
}

struct pv_ruling pv_rule_keys(struct pv_facts facts) {
  return facts.guarded ? go_on(PV_PASS) : refuse(PV_MOVED);
}

struct pv_ruling pv_rule_finished(struct pv_facts facts) {
  if (facts.proven) return go_on(PV_PASS);
  return refuse(facts.has_certificate ? PV_INTERNAL : PV_CHAIN_LENGTH);
}

struct pv_ruling pv_rule_done(struct pv_facts facts) {
  if (facts.guarded && facts.proven) return go_on(PV_PASS);
  return refuse(facts.guarded ? PV_INTERNAL : PV_MOVED);
}

int pv_rule_keeps_session(struct pv_facts facts, struct pv_verdict verdict) {
  return verdict.reason == PV_PINNED && verdict.depth == 0 && (facts.is_server || facts.sole_host);
}
