// SPDX-License-Identifier: Apache-2.0
//
// Stands between OpenSSL and the callbacks of whoever verifies, and adds up the time that they take. It is
// put in the place of the functions that set a callback; what it sets is its own, which calls the other one.
// One thread only.

#define _POSIX_C_SOURCE 199309L

#include <stddef.h>
#include <stdint.h>
#include <time.h>

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct x509_store_ctx_st X509_STORE_CTX;

typedef int verify_callback(int, X509_STORE_CTX *);
typedef void message_callback(int, int, int, void *, size_t, SSL *, void *);
typedef int server_name_callback(SSL *, int *, void *);
typedef int certificate_callback(SSL *, void *);
typedef void info_callback(SSL *, int, int);

// What the functions set that this stands in for; see benchmarks/latency.py.
void (*probe_ctx_set_verify)(SSL_CTX *, int, verify_callback *);
void (*probe_ssl_set_verify)(SSL *, int, verify_callback *);
void (*probe_ctx_set_msg_callback)(SSL_CTX *, message_callback *);
void (*probe_ctx_set_tlsext_servername_callback)(SSL_CTX *, server_name_callback *);
void (*probe_ctx_set_cert_cb)(SSL_CTX *, certificate_callback *, void *);
void (*probe_ctx_set_info_callback)(SSL_CTX *, info_callback *);

static verify_callback *verify;
static message_callback *message;
static server_name_callback *server_name;
static certificate_callback *certificate;
static info_callback *info;
static uint64_t spent, entered;

static uint64_t nanoseconds(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// probe_take gives the nanoseconds since the last time, and how often a callback was entered.
uint64_t probe_take(uint64_t *out_entered) {
  uint64_t taken = spent;
  *out_entered = entered;
  spent = entered = 0;
  return taken;
}

static int timed_verify(int ok, X509_STORE_CTX *store_ctx) {
  uint64_t began = nanoseconds();
  int accepted = verify(ok, store_ctx);
  spent += nanoseconds() - began;
  entered++;
  return accepted;
}

static void timed_message(int is_write, int version, int type, void *data, size_t len, SSL *ssl, void *arg) {
  uint64_t began = nanoseconds();
  message(is_write, version, type, data, len, ssl, arg);
  spent += nanoseconds() - began;
  entered++;
}

static int timed_server_name(SSL *ssl, int *alert, void *arg) {
  uint64_t began = nanoseconds();
  int answer = server_name(ssl, alert, arg);
  spent += nanoseconds() - began;
  entered++;
  return answer;
}

static int timed_certificate(SSL *ssl, void *arg) {
  uint64_t began = nanoseconds();
  int answer = certificate(ssl, arg);
  spent += nanoseconds() - began;
  entered++;
  return answer;
}

static void timed_info(SSL *ssl, int where, int value) {
  uint64_t began = nanoseconds();
  info(ssl, where, value);
  spent += nanoseconds() - began;
  entered++;
}

// The stand-ins. A NULL callback stays one.
void probe_SSL_CTX_set_verify(SSL_CTX *context, int mode, verify_callback *callback) {
  if (callback != NULL) verify = callback;
  probe_ctx_set_verify(context, mode, callback == NULL ? NULL : timed_verify);
}

void probe_SSL_set_verify(SSL *ssl, int mode, verify_callback *callback) {
  if (callback != NULL) verify = callback;
  probe_ssl_set_verify(ssl, mode, callback == NULL ? NULL : timed_verify);
}

void probe_SSL_CTX_set_msg_callback(SSL_CTX *context, message_callback *callback) {
  message = callback;
  probe_ctx_set_msg_callback(context, callback == NULL ? NULL : timed_message);
}

void probe_SSL_CTX_set_tlsext_servername_callback(SSL_CTX *context, server_name_callback *callback) {
  server_name = callback;
  probe_ctx_set_tlsext_servername_callback(context, callback == NULL ? NULL : timed_server_name);
}

void probe_SSL_CTX_set_cert_cb(SSL_CTX *context, certificate_callback *callback, void *arg) {
  certificate = callback;
  probe_ctx_set_cert_cb(context, callback == NULL ? NULL : timed_certificate, arg);
}

void probe_SSL_CTX_set_info_callback(SSL_CTX *context, info_callback *callback) {
  info = callback;
  probe_ctx_set_info_callback(context, callback == NULL ? NULL : timed_info);
}
