// SPDX-License-Identifier: Apache-2.0
//
// The OpenSSL functions that the guard borrows from cryptography's binding.
//
// The wheel of cryptography carries its own OpenSSL and exports none of its symbols, and no other OpenSSL may
// touch its pointers. So nothing is linked: Python hands in the address of each function, after it has
// compared the prototype that the binding states with the one that is written here.

#ifndef PV_OPENSSL_H
#define PV_OPENSSL_H

#include <stddef.h>
#include <stdint.h>

#include "pv_slice.h"

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_session_st SSL_SESSION;
typedef struct x509_st X509;
typedef struct x509_store_ctx_st X509_STORE_CTX;
typedef struct X509_VERIFY_PARAM_st X509_VERIFY_PARAM;
typedef struct bio_st BIO;
typedef struct bio_method_st BIO_METHOD;
typedef struct stack_st_X509 Cryptography_STACK_OF_X509;
typedef struct stack_st_X509_NAME Cryptography_STACK_OF_X509_NAME;

// PV_OPENSSL_FUNCTIONS lists them as F(result, name, parameters), in the binding's own words (which knows no
// const).
#define PV_OPENSSL_FUNCTIONS(F)                                                                          \
  F(void, SSL_CTX_set_msg_callback, (SSL_CTX *, void (*)(int, int, int, void *, size_t, SSL *, void *))) \
  F(void, SSL_CTX_set_msg_callback_arg, (SSL_CTX *, void *))                                             \
  F(void, SSL_CTX_set_verify, (SSL_CTX *, int, int (*)(int, X509_STORE_CTX *)))                          \
  F(void, SSL_set_verify, (SSL *, int, int (*)(int, X509_STORE_CTX *)))                                  \
  F(void, SSL_CTX_set_tlsext_servername_callback, (SSL_CTX *, int (*)(SSL *, int *, void *)))            \
  F(void, SSL_CTX_set_cert_cb, (SSL_CTX *, int (*)(SSL *, void *), void *))                              \
  F(void, SSL_CTX_set_info_callback, (SSL_CTX *, void (*)(SSL *, int, int)))                             \
  F(void, SSL_CTX_set_keylog_callback, (SSL_CTX *, void (*)(SSL *, char *)))                             \
  F(long, SSL_CTX_set_mode, (SSL_CTX *, long))                                                           \
  F(long, SSL_set_mode, (SSL *, long))                                                                   \
  F(long, SSL_clear_mode, (SSL *, long))                                                                 \
  F(SSL_CTX *, SSL_set_SSL_CTX, (SSL *, SSL_CTX *))                                                      \
  F(char *, SSL_get_servername, (SSL *, int))                                                            \
  F(Cryptography_STACK_OF_X509_NAME *, SSL_get_client_CA_list, (SSL *))                                  \
  F(int, SSL_session_reused, (SSL *))                                                                    \
  F(SSL_SESSION *, SSL_get_session, (SSL *))                                                             \
  F(int, SSL_SESSION_set_protocol_version, (SSL_SESSION *, int))                                         \
  F(X509 *, SSL_get_peer_certificate, (SSL *))                                                           \
  F(Cryptography_STACK_OF_X509 *, SSL_get0_verified_chain, (SSL *))                                      \
  F(void, SSL_set_shutdown, (SSL *, int))                                                                \
  F(int, SSL_get_ex_data_X509_STORE_CTX_idx, (void))                                                     \
  F(X509_VERIFY_PARAM *, SSL_get0_param, (SSL *))                                                        \
  F(int, X509_VERIFY_PARAM_set1_host, (X509_VERIFY_PARAM *, char *, size_t))                             \
  F(int, X509_VERIFY_PARAM_set1_ip, (X509_VERIFY_PARAM *, unsigned char *, size_t))                      \
  F(void, X509_VERIFY_PARAM_set_hostflags, (X509_VERIFY_PARAM *, unsigned int))                          \
  F(int, X509_STORE_CTX_get_error, (X509_STORE_CTX *))                                                   \
  F(int, X509_STORE_CTX_get_error_depth, (X509_STORE_CTX *))                                             \
  F(void, X509_STORE_CTX_set_error, (X509_STORE_CTX *, int))                                             \
  F(void *, X509_STORE_CTX_get_ex_data, (X509_STORE_CTX *, int))                                         \
  F(X509 *, X509_STORE_CTX_get0_cert, (X509_STORE_CTX *))                                                \
  F(Cryptography_STACK_OF_X509 *, X509_STORE_CTX_get1_chain, (X509_STORE_CTX *))                         \
  F(int, sk_X509_num, (Cryptography_STACK_OF_X509 *))                                                    \
  F(X509 *, sk_X509_value, (Cryptography_STACK_OF_X509 *, int))                                          \
  F(void, sk_X509_free, (Cryptography_STACK_OF_X509 *))                                                  \
  F(void, X509_free, (X509 *))                                                                           \
  F(BIO_METHOD *, BIO_s_mem, (void))                                                                     \
  F(BIO *, BIO_new, (BIO_METHOD *))                                                                      \
  F(int, BIO_free, (BIO *))                                                                              \
  F(long, BIO_get_mem_data, (BIO *, char **))                                                            \
  F(int, i2d_X509_bio, (BIO *, X509 *))                                                                  \
  F(void, ERR_put_error, (int, int, int, char *, int))

struct pv_openssl {
#define F(result, name, parameters) result(*name) parameters;
  PV_OPENSSL_FUNCTIONS(F)
#undef F
};

// pv_openssl is written at import, before there is a guard, and never after.
extern struct pv_openssl pv_openssl;

// pv_openssl_name and pv_openssl_prototype give the function number |index| as text, or NULL past the last
// one.
const char *pv_openssl_name(size_t index);
const char *pv_openssl_prototype(size_t index);

// pv_openssl_set fills in the function number |index|. It returns 0 if there is no such function or
// |function| is NULL.
PV_MUST_USE int pv_openssl_set(size_t index, void *function);

#endif  // PV_OPENSSL_H
