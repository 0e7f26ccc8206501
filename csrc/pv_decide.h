// SPDX-License-Identifier: Apache-2.0
//
// The decision: a policy, a host and the verified chain in, a verdict out. It knows no OpenSSL and no Python.

#ifndef PV_DECIDE_H
#define PV_DECIDE_H

#include "pv_cert.h"
#include "pv_policy.h"
#include "pv_slice.h"

// PV_MAX_CHAIN caps the certificates of a verified chain. Real ones have two to five.
#define PV_MAX_CHAIN 32

// Why a peer was refused, or accepted. Zero refuses, so that memory which was never written accepts nobody.
enum pv_reason {
  PV_INTERNAL = 0,       // something failed here; never the peer's merit or fault
  PV_NOT_PINNED = 1,     // no certificate of the chain has an allowed pin
  PV_DENIED = 2,         // a certificate of the chain has a denied pin
  PV_EXPIRED = 3,        // the entry's pins are out of date, and the entry says to refuse then
  PV_UNLISTED = 4,       // no entry covers the host, and the policy says to refuse then
  PV_NO_REFERENCE = 5,   // the connection never said which host it wants
  PV_BAD_REFERENCE = 6,  // what it said is no host name
  PV_MALFORMED = 7,      // a certificate that OpenSSL took is not as RFC 5280 4.1 has it
  PV_CHAIN_LENGTH = 8,   // no certificate at all, or more than PV_MAX_CHAIN
  PV_OPENSSL = 9,        // OpenSSL's own verification refused
  PV_SESSION = 10,       // a resumed session of which it is not known that the policy accepts it
  PV_MOVED = 11,         // made from another context than the pinned one that it is to be served by
  // From here on the peer is accepted.
  PV_PINNED = 12,       // a certificate of the chain has an allowed pin, and none a denied one
  PV_UNLISTED_OK = 13,  // no entry covers the host, and the policy leaves it to OpenSSL then
  PV_EXPIRED_OK = 14,   // the entry's pins are out of date, and the entry leaves it to OpenSSL then
  PV_RESUMED = 15,      // a session whose peer was accepted under the same policy before
  PV_REASON_COUNT = 16,
};

struct pv_verdict {
  enum pv_reason reason;
  int accepted;           // 1 if the reason accepts, or if it is a violation that the entry only reports
  int32_t entry;          // index in the policy, or a PV_UNLISTED_ value
  int32_t depth;          // of the certificate that settled it (0 is the leaf), or -1
  enum pv_status status;  // what is wrong with that certificate, if PV_MALFORMED
};

// pv_decision is a verdict in the making. The chain is handed in one certificate at a time, leaf first, so
// that no certificate need be fetched that cannot change the verdict.
struct pv_decision {
  struct pv_verdict verdict;
  const struct pv_entry *entry;
  int32_t depth;  // certificates seen
};

// pv_decision_open starts with the canonical |host| at |now|, Unix time in seconds. It returns 1 if the
// verdict depends on the chain, and 0 if it stands already.
PV_MUST_USE int pv_decision_open(struct pv_decision *decision, const struct pv_policy *policy, pv_slice host,
                                 int64_t now);

// pv_decision_add takes the next DER certificate; its bytes are not looked at again. It returns 1 if a
// further certificate could still change the verdict, else 0. It must not be called after a 0.
PV_MUST_USE int pv_decision_add(struct pv_decision *decision, pv_slice cert);

// pv_decision_close returns the verdict.
PV_MUST_USE struct pv_verdict pv_decision_close(const struct pv_decision *decision);

// pv_decide does all of the above for a chain of |count| certificates, leaf first.
PV_MUST_USE struct pv_verdict pv_decide(const struct pv_policy *policy, pv_slice host, int64_t now,
                                        const pv_slice *chain, size_t count);

#endif  // PV_DECIDE_H
