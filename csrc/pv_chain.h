// SPDX-License-Identifier: Apache-2.0
//
// From OpenSSL's verification to the decision: each certificate of the verified chain, as DER.

#ifndef PV_CHAIN_H
#define PV_CHAIN_H

#include "pv_decide.h"
#include "pv_openssl.h"
#include "pv_slice.h"

// pv_chain_feed hands |*decision| the verified chain of |store_ctx|, leaf first, for as long as it wants
// more; with |leaf_only| the leaf and nothing else. It returns 1, or 0 if OpenSSL could not give a
// certificate; then the decision counts for nothing.
PV_MUST_USE int pv_chain_feed(X509_STORE_CTX *store_ctx, int leaf_only, struct pv_decision *decision);

#endif  // PV_CHAIN_H
