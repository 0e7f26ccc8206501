// SPDX-License-Identifier: Apache-2.0
//
// Many threads on two guards with one policy, for ThreadSanitizer: handshakes as OpenSSL would take the
// guard's callbacks through them, the table of references, the counters, and judging anew.
//
// OpenSSL itself is not here. What stands in for it gives out what a connection was made with, and is there
// to be raced through; what is right is shown by the tests in Python, over the real one.

#include "check.h"

#include <pthread.h>

#include "certificate.h"
#include "pv_connection.h"
#include "pv_handshake.h"
#include "pv_sha256.h"

#ifndef ROUNDS
#define ROUNDS 2000
#endif
enum { THREADS = 8, GUARDS = 2 };

// -- In place of OpenSSL --

struct x509_st {
  pv_slice der;
};

struct stack_st_X509 {
  X509 *certificate;
};

struct ssl_ctx_st {
  void (*on_message)(int, int, int, void *, size_t, SSL *, void *);
  void *arg;
  long mode;
  int (*on_server_name)(SSL *, int *, void *);
  int (*on_own_certificate)(SSL *, void *);
  void (*on_info)(SSL *, int, int);
  void *own_certificate_arg;
};

struct ssl_st {
  _Alignas(64) char *server_name;  // or NULL
  Cryptography_STACK_OF_X509 chain;
  int (*on_verify)(int, X509_STORE_CTX *);
  int resumes;
  int shutdown;
  SSL_SESSION *session;
  long mode;
  enum pv_reason told;  // what Python would have heard of it; PV_PINNED if nothing
};

struct x509_store_ctx_st {
  SSL *ssl;
};

struct bio_st {
  char data[512];
  size_t len;
};

static void ctx_set_msg_callback(SSL_CTX *ctx,
                                 void (*on_message)(int, int, int, void *, size_t, SSL *, void *)) {
  ctx->on_message = on_message;
}
static void ctx_set_msg_callback_arg(SSL_CTX *ctx, void *arg) { ctx->arg = arg; }
static void ctx_set_verify(SSL_CTX *ctx, int mode, int (*on_verify)(int, X509_STORE_CTX *)) {
  (void)ctx, (void)mode, (void)on_verify;
}
static long ctx_set_mode(SSL_CTX *ctx, long mode) { return ctx->mode |= mode; }
static long set_mode(SSL *ssl, long mode) { return ssl->mode |= mode; }
static long clear_mode(SSL *ssl, long mode) { return ssl->mode &= ~mode; }
static void ctx_set_own_certificate(SSL_CTX *ctx, int (*function)(SSL *, void *), void *arg) {
  ctx->on_own_certificate = function;
  ctx->own_certificate_arg = arg;
}
static void ctx_set_info(SSL_CTX *ctx, void (*on_info)(SSL *, int, int)) { ctx->on_info = on_info; }
static void ctx_set_keys(SSL_CTX *ctx, void (*on_keys)(SSL *, char *)) { (void)ctx, (void)on_keys; }
static Cryptography_STACK_OF_X509_NAME *get_ca_names(SSL *ssl) { return (void *)ssl; }
static SSL_SESSION *get_session(SSL *ssl) { return ssl->session; }
static int set_session_version(SSL_SESSION *session, int version) { return session != NULL && version != 0; }
static void ctx_set_server_name(SSL_CTX *ctx, int (*on_server_name)(SSL *, int *, void *)) {
  ctx->on_server_name = on_server_name;
}
static void set_verify(SSL *ssl, int mode, int (*on_verify)(int, X509_STORE_CTX *)) {
  (void)mode;
  ssl->on_verify = on_verify;
}
static SSL_CTX *set_ssl_ctx(SSL *ssl, SSL_CTX *ctx) { return ssl == NULL ? NULL : ctx; }
static char *get_servername(SSL *ssl, int type) { return type == 0 ? ssl->server_name : NULL; }
static int session_reused(SSL *ssl) { return ssl->resumes; }
static X509 *get_peer_certificate(SSL *ssl) { return ssl->chain.certificate; }
static Cryptography_STACK_OF_X509 *get_verified_chain(SSL *ssl) { return &ssl->chain; }
static void set_shutdown(SSL *ssl, int shutdown) { ssl->shutdown = shutdown; }
static int ex_data_index(void) { return 0; }
static void *get_ex_data(X509_STORE_CTX *store_ctx, int index) { return index == 0 ? store_ctx->ssl : NULL; }
static X509_VERIFY_PARAM *get_param(SSL *ssl) { return (void *)ssl; }
static int set_host(X509_VERIFY_PARAM *param, char *host, size_t len) {
  return param != NULL && strlen(host) == len;
}
static int set_ip(X509_VERIFY_PARAM *param, unsigned char *ip, size_t len) {
  return param != NULL && ip != NULL && len == 4;
}
static void set_hostflags(X509_VERIFY_PARAM *param, unsigned int flags) { (void)param, (void)flags; }
static int get_error(X509_STORE_CTX *store_ctx) { return store_ctx == NULL; }
static void set_error(X509_STORE_CTX *store_ctx, int error) { (void)store_ctx, (void)error; }
static X509 *get_leaf(X509_STORE_CTX *store_ctx) { return store_ctx->ssl->chain.certificate; }
static Cryptography_STACK_OF_X509 *get_chain(X509_STORE_CTX *store_ctx) { return &store_ctx->ssl->chain; }
static int stack_num(Cryptography_STACK_OF_X509 *chain) { return chain != NULL; }
static X509 *stack_value(Cryptography_STACK_OF_X509 *chain, int i) {
  return i == 0 ? chain->certificate : NULL;
}
static void stack_free(Cryptography_STACK_OF_X509 *chain) { (void)chain; }
static void x509_free(X509 *certificate) { (void)certificate; }
static BIO_METHOD *bio_mem(void) { return NULL; }
static BIO *bio_new(BIO_METHOD *method) { return method == NULL ? calloc(1, sizeof(BIO)) : NULL; }
static int bio_free(BIO *bio) {
  free(bio);
  return 1;
}
static long bio_data(BIO *bio, char **out_data) {
  *out_data = bio->data;
  return (long)bio->len;
}
static int export(BIO *bio, X509 *certificate) {
  memcpy(bio->data + bio->len, certificate->der.data, certificate->der.len);
  bio->len += certificate->der.len;
  return 1;
}
static void put_error(int library, int function, int reason, char *file, int line) {
  (void)library, (void)function, (void)reason, (void)file, (void)line;
}

static const struct pv_openssl stand_in = {
    .SSL_CTX_set_msg_callback = ctx_set_msg_callback,
    .SSL_CTX_set_msg_callback_arg = ctx_set_msg_callback_arg,
    .SSL_CTX_set_mode = ctx_set_mode,
    .SSL_CTX_set_cert_cb = ctx_set_own_certificate,
    .SSL_CTX_set_info_callback = ctx_set_info,
    .SSL_CTX_set_keylog_callback = ctx_set_keys,
    .SSL_set_mode = set_mode,
    .SSL_clear_mode = clear_mode,
    .SSL_get_client_CA_list = get_ca_names,
    .SSL_get_session = get_session,
    .SSL_SESSION_set_protocol_version = set_session_version,
    .SSL_CTX_set_verify = ctx_set_verify,
    .SSL_CTX_set_tlsext_servername_callback = ctx_set_server_name,
    .SSL_set_verify = set_verify,
    .SSL_set_SSL_CTX = set_ssl_ctx,
    .SSL_get_servername = get_servername,
    .SSL_session_reused = session_reused,
    .SSL_get_peer_certificate = get_peer_certificate,
    .SSL_get0_verified_chain = get_verified_chain,
    .SSL_set_shutdown = set_shutdown,
    .SSL_get_ex_data_X509_STORE_CTX_idx = ex_data_index,
    .SSL_get0_param = get_param,
    .X509_VERIFY_PARAM_set1_host = set_host,
    .X509_VERIFY_PARAM_set1_ip = set_ip,
    .X509_VERIFY_PARAM_set_hostflags = set_hostflags,
    .X509_STORE_CTX_get_error = get_error,
    .X509_STORE_CTX_get_error_depth = get_error,
    .X509_STORE_CTX_set_error = set_error,
    .X509_STORE_CTX_get_ex_data = get_ex_data,
    .X509_STORE_CTX_get0_cert = get_leaf,
    .X509_STORE_CTX_get1_chain = get_chain,
    .sk_X509_num = stack_num,
    .sk_X509_value = stack_value,
    .sk_X509_free = stack_free,
    .X509_free = x509_free,
    .BIO_s_mem = bio_mem,
    .BIO_new = bio_new,
    .BIO_free = bio_free,
    .BIO_get_mem_data = bio_data,
    .i2d_X509_bio = export,
    .ERR_put_error = put_error,
};

// -- The connections --

// Each thread takes every eighth of these in turn, so that they meet in the buckets of the table of
// references.
static SSL connections[4096];
enum { CONNECTIONS = sizeof connections / sizeof connections[0] };

static uint8_t octets[128];
static X509 certificate;
static SSL_CTX contexts[GUARDS];
static struct pv_guard *guards[GUARDS];

// Connections of each sort, and what has to come of them.
static const struct sort {
  const char *server_name;
  const char *address;  // entered in the table of references
  enum pv_reason reason;
  int resumes;
} sorts[] = {
    {"good.test", NULL, PV_PINNED, 0},        {"bad.test", NULL, PV_NOT_PINNED, 0},
    {"elsewhere.test", NULL, PV_UNLISTED, 0}, {"192.0.2.1", NULL, PV_BAD_REFERENCE, 0},
    {NULL, "192.0.2.1", PV_PINNED, 0},        {NULL, "192.0.2.2", PV_NOT_PINNED, 0},
    {NULL, NULL, PV_NO_REFERENCE, 0},         {"good.test", NULL, PV_SESSION, 1},
};
enum { SORTS = sizeof sorts / sizeof sorts[0] };

static int tell(void *owner, const struct pv_report *report) {
  SSL *ssl = report->ssl;
  ssl->told = report->verdict.reason;
  return owner == NULL;
}

// shake takes a connection through a handshake: the peer's ServerHello and Certificate with what OpenSSL asks
// of each, its Finished, and the end. It returns 1 if nothing was refused.
static int shake(SSL_CTX *context, SSL *ssl) {
  enum { HANDSHAKE = 22, DONE = 0x20 };
  int alert = 0;
  uint8_t hello[4] = {2}, certificates[100] = {11}, finished[36] = {20};
  X509_STORE_CTX store_ctx = {ssl};
  context->on_message(0, 0, HANDSHAKE, hello, sizeof hello, ssl, context->arg);
  if (context->on_server_name(ssl, &alert, NULL) == 2) return 0;
  context->on_message(0, 0, HANDSHAKE, certificates, sizeof certificates, ssl, context->arg);
  if (ssl->on_verify(1, &store_ctx) != 1) return 0;
  if (context->on_own_certificate(ssl, context->own_certificate_arg) != 1) return 0;
  context->on_message(0, 0, HANDSHAKE, finished, sizeof finished, ssl, context->arg);
  context->on_info(ssl, DONE, 1);
  return ssl->shutdown == 0 && finished[sizeof finished - 1] == 0;
}

// is_judged_alike says whether judging the connection anew comes to the same.
static int is_judged_alike(struct pv_guard *guard, SSL *ssl, const struct sort *sort) {
  static _Thread_local struct pv_judgement judgement;
  if (!pv_guard_judge(guard, ssl, 0, &judgement)) return 0;
  return judgement.verdict.reason == sort->reason && judgement.count == 1;
}

// run does all that is done with a connection, and returns 1 if what came of it is right.
static int run(struct pv_guard *guard, SSL_CTX *context, SSL *ssl, const struct sort *sort) {
  char name[32] = {0};
  struct pv_reference reference = {.connection = ssl, .host = {.ip_len = 4, .ip = {192, 0, 2, 1}}};
  *ssl = (SSL){.chain = {&certificate}, .resumes = sort->resumes, .mode = context->mode, .told = PV_PINNED};
  if (sort->server_name != NULL) ssl->server_name = strcpy(name, sort->server_name);
  if (sort->address != NULL) {
    strcpy(reference.host.text, sort->address);
    reference.host.len = (uint8_t)strlen(sort->address);
    pv_references_add(guard->references, &reference);
  }
  int accepted = shake(context, ssl), right = ssl->told == sort->reason;
  right &= accepted == (sort->reason == PV_PINNED);
  if (accepted) right &= is_judged_alike(guard, ssl, sort);
  pv_references_remove(guard->references, &reference);
  return right;
}

// work returns how many connections did not end as they should. It counts for itself: CHECK does not count
// across threads.
static void *work(void *argument) {
  size_t thread = (size_t)argument, mistakes = 0;
  for (size_t round = 0; round < ROUNDS; round++) {
    size_t i = (thread + round) % GUARDS;
    SSL *ssl = &connections[(round * THREADS + thread) % CONNECTIONS];
    mistakes += !run(guards[i], &contexts[i], ssl, &sorts[(thread + round / GUARDS) % SORTS]);
    mistakes += pv_guard_count(guards[i], 1, PV_NOT_PINNED) != 0;
  }
  return (void *)mistakes;
}

static struct pv_policy *make_policy(void) {
  uint8_t key[32], other[32] = {1};
  pv_slice spki;
  certificate.der = pv_slice_of(octets, assemble(minimal, octets, &spki));
  pv_sha256(spki.data, spki.len, key);
  struct pv_policy *policy = pv_policy_new(2, 4, 64, PV_UNLISTED_DENY);
  CHECK(pv_policy_set_entry(policy, 0, INT64_MAX, 0, 0) && pv_policy_set_entry(policy, 1, INT64_MAX, 0, 0));
  CHECK(pv_policy_set_pins(policy, 0, PV_ROLE_ALLOW, PV_KIND_SPKI, key, 1, 7));
  CHECK(pv_policy_set_pins(policy, 1, PV_ROLE_ALLOW, PV_KIND_SPKI, other, 1, 7));
  CHECK(pv_policy_add_pattern(policy, PV_MATCH_EXACT, "good.test", 9, 0));
  CHECK(pv_policy_add_pattern(policy, PV_MATCH_EXACT, "192.0.2.1", 9, 0));
  CHECK(pv_policy_add_pattern(policy, PV_MATCH_EXACT, "bad.test", 8, 1));
  CHECK(pv_policy_add_pattern(policy, PV_MATCH_EXACT, "192.0.2.2", 9, 1));
  return policy;
}

// counted returns how many connections both guards have counted.
static uint64_t counted(void) {
  uint64_t sum = 0;
  for (int i = 0; i < GUARDS; i++) {
    for (int reason = 0; reason < PV_REASON_COUNT; reason++) {
      sum += pv_guard_count(guards[i], 0, reason) + pv_guard_count(guards[i], 1, reason);
    }
  }
  return sum;
}

static void run_threads(void) {
  pthread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
  for (size_t i = 0; i < THREADS; i++) {
    void *mistakes = NULL;
    CHECK(pthread_join(threads[i], &mistakes) == 0 && mistakes == NULL);
  }
}

int main(void) {
  pv_openssl = stand_in;
  pv_sha256_init();
  pv_guard_set_tell(tell);
  struct pv_policy *policy = make_policy();
  for (int i = 0; i < GUARDS; i++) {
    guards[i] = pv_guard_new(policy, &contexts[i], 0, 0, NULL, NULL);
    CHECK(guards[i] != NULL);
    pv_handshake_install(guards[i]);
  }
  run_threads();
  CHECK(counted() == (uint64_t)THREADS * ROUNDS);
  for (int i = 0; i < GUARDS; i++) pv_guard_free(guards[i]);
  pv_policy_free(policy);
  return check_summary();
}
