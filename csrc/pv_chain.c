// SPDX-License-Identifier: Apache-2.0

#include "pv_chain.h"

#include <string.h>

// append exports |cert| to |bio|, behind what that holds. It returns 1 and all that is there now in
// |*out_all|, or 0.
static PV_MUST_USE int append(BIO *bio, X509 *cert, pv_slice *out_all) {
  char *data = NULL;
  if (cert == NULL || pv_openssl.i2d_X509_bio(bio, cert) != 1) return 0;
  long end = pv_openssl.BIO_get_mem_data(bio, &data);
  if (end < 0 || data == NULL) return 0;
  *out_all = pv_slice_of(data, (size_t)end);
  return 1;
}

// feed exports |cert| to |bio|, behind the |*used| bytes that it holds already, and hands it to the decision.
// It returns 1 if that could be done, and whether the decision wants more in |*out_more|.
static PV_MUST_USE int feed(struct pv_decision *decision, BIO *bio, X509 *cert, size_t *used, int *out_more) {
  pv_slice before, rest;
  if (!append(bio, cert, &rest)) return 0;
  size_t end = rest.len;
  if (!pv_slice_take(&rest, *used, &before)) return 0;
  *used = end;
  *out_more = pv_decision_add(decision, rest);
  return 1;
}

// feed_rest hands over what is behind the leaf, which takes |used| bytes of |bio|.
static PV_MUST_USE int feed_rest(struct pv_decision *decision, BIO *bio, X509_STORE_CTX *store_ctx,
                                 size_t used) {
  Cryptography_STACK_OF_X509 *chain = pv_openssl.X509_STORE_CTX_get1_chain(store_ctx);
  if (chain == NULL) return 0;
  int count = pv_openssl.sk_X509_num(chain), more = 1;
  int fed = count > 0;  // the leaf is in it
  for (int i = 1; fed && more && i < count; i++) {
    fed = feed(decision, bio, pv_openssl.sk_X509_value(chain, i), &used, &more);
  }
  for (int i = 0; i < count; i++) pv_openssl.X509_free(pv_openssl.sk_X509_value(chain, i));
  pv_openssl.sk_X509_free(chain);
  return fed;
}

int pv_chain_feed(X509_STORE_CTX *store_ctx, int leaf_only, struct pv_decision *decision) {
  BIO *bio = pv_openssl.BIO_new(pv_openssl.BIO_s_mem());
  if (bio == NULL) return 0;
  size_t used = 0;
  int more = 0;
  int fed = feed(decision, bio, pv_openssl.X509_STORE_CTX_get0_cert(store_ctx), &used, &more);
  if (fed && more && !leaf_only) fed = feed_rest(decision, bio, store_ctx, used);
  (void)pv_openssl.BIO_free(bio);  // what it could report is that there was no BIO
  return fed;
}

int pv_chain_feed_kept(SSL *ssl, struct pv_decision *decision) {
  BIO *bio = pv_openssl.BIO_new(pv_openssl.BIO_s_mem());
  if (bio == NULL) return 0;
  X509 *leaf = pv_openssl.SSL_get_peer_certificate(ssl);
  size_t used = 0;
  int more;
  int fed = feed(decision, bio, leaf, &used, &more);
  pv_openssl.X509_free(leaf);
  (void)pv_openssl.BIO_free(bio);  // what it could report is that there was no BIO
  return fed;
}

int pv_chain_verified(void *ssl, uint8_t *out_der, size_t room, size_t *out_ends) {
  Cryptography_STACK_OF_X509 *chain = pv_openssl.SSL_get0_verified_chain(ssl);
  if (chain == NULL) return 0;  // of a resumed session
  int count = pv_openssl.sk_X509_num(chain), fits = 1;
  if (count < 0 || count > PV_MAX_CHAIN) return -1;
  BIO *bio = pv_openssl.BIO_new(pv_openssl.BIO_s_mem());
  if (bio == NULL) return -1;
  pv_slice all = {NULL, 0};
  for (int i = 0; fits && i < count; i++) {
    fits = append(bio, pv_openssl.sk_X509_value(chain, i), &all) && all.len <= room;
    out_ends[i] = all.len;
  }
  if (fits && all.len != 0) memcpy(out_der, all.data, all.len);
  (void)pv_openssl.BIO_free(bio);  // what it could report is that there was no BIO
  return fits ? count : -1;
}
