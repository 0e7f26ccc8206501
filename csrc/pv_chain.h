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

// pv_chain_feed_kept hands |*decision| the leaf that the session of |ssl| keeps. It returns as pv_chain_feed.
PV_MUST_USE int pv_chain_feed_kept(SSL *ssl, struct pv_decision *decision);

// pv_chain_verified copies the verified chain of |ssl| after its handshake, an SSL *, to |out_der|, which has
// room for |room| bytes: the certificates as DER, one behind the other, leaf first. Where each ends goes to
// |out_ends|, which has room for PV_MAX_CHAIN. It returns how many there are, or -1 if OpenSSL could not give
// them or they do not fit; then what the outputs hold counts for nothing.
PV_MUST_USE int pv_chain_verified(void *ssl, uint8_t *out_der, size_t room, size_t *out_ends);

#endif  // PV_CHAIN_H
