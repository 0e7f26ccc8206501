// SPDX-License-Identifier: Apache-2.0

#include "pv_message.h"

#include "pv_connection.h"
#include "pv_handshake.h"
#include "pv_rules.h"

enum {
  CHECK_NO_PARTIAL_WILDCARDS = 0x04,
  CHECK_NEVER_SUBJECT = 0x20,
  CONTENT_HANDSHAKE = 22,               // RFC 8446 5.1
  MESSAGE_CLIENT_HELLO = 1,             // RFC 8446 4
  MESSAGE_SERVER_HELLO = 2,             // RFC 8446 4
  MESSAGE_ENCRYPTED_EXTENSIONS = 8,     // RFC 8446 4
  MESSAGE_CERTIFICATE = 11,             // RFC 8446 4
  MESSAGE_FINISHED = 20,                // RFC 8446 4
  MESSAGE_COMPRESSED_CERTIFICATE = 25,  // RFC 8879 7.3
};

// hold puts back on the connection what its program may have changed since: the verify callback, and the
// context with its trust anchors, session scope and other callbacks. A server keeps the context that it was
// moved to after the hello, since that is how one serves several names. It returns 1 if all is in place.
static PV_MUST_USE int hold(const struct pv_guard *guard, SSL *ssl, int type) {
  pv_handshake_hold_verify(guard, ssl);
  return (guard->is_server && type != MESSAGE_CLIENT_HELLO) ||
         pv_openssl.SSL_set_SSL_CTX(ssl, guard->context) == guard->context;
}

// bind makes OpenSSL check the name itself, RFC 9525 as it implements it. In pins-only mode the key is the
// name.
static PV_MUST_USE int bind(const struct pv_guard *guard, SSL *ssl, struct pv_host *host) {
  if (guard->is_server || guard->pins_only) return 1;
  X509_VERIFY_PARAM *param = pv_openssl.SSL_get0_param(ssl);
  if (param == NULL) return 0;
  pv_openssl.X509_VERIFY_PARAM_set_hostflags(param, CHECK_NEVER_SUBJECT | CHECK_NO_PARTIAL_WILDCARDS);
  if (host->ip_len != 0) return pv_openssl.X509_VERIFY_PARAM_set1_ip(param, host->ip, host->ip_len) == 1;
  return pv_openssl.X509_VERIFY_PARAM_set1_host(param, host->text, host->len) == 1;
}

// announce leaves word for the callback that decides. The name that a client has sent is read while OpenSSL
// still tells it: once a session is resumed, it names that one's host (SSL_get_servername(3), TLS 1.2).
static void announce(enum pv_heard heard, struct pv_guard *guard, SSL *ssl) {
  struct pv_word word = {.heard = heard, .ssl = ssl, .guard = guard};
  word.obstacle = pv_guard_reference(guard, ssl, &word.reference);
  if (heard == PV_CERTIFICATES && word.obstacle == PV_PINNED && !bind(guard, ssl, &word.reference)) {
    word.obstacle = PV_INTERNAL;
  }
  pv_word_leave(&word);
}

static PV_MUST_USE int has_certificate(SSL *ssl) {
  X509 *cert = pv_openssl.SSL_get_peer_certificate(ssl);
  int has = cert != NULL;
  pv_openssl.X509_free(cert);
  return has;
}

// check_finished is the end of the way for a peer about whom no callback has decided: OpenSSL has not asked
// it for a certificate, or has asked another callback, since a program meddled with the verification.
static void check_finished(struct pv_guard *guard, SSL *ssl, uint8_t *message, size_t len) {
  struct pv_facts facts = {.proven = (pv_connection_marks(ssl) & PV_PROVEN) != 0};
  if (!facts.proven) facts.has_certificate = has_certificate(ssl);
  struct pv_ruling ruling = pv_rule_finished(facts);
  if (ruling.action == PV_PASS) return;
  message[len - 1] ^= 1;
  pv_connection_refuse(guard, ssl, ruling.reason);
}

void pv_on_message(int is_write, int version, int content_type, void *message, size_t len, SSL *ssl,
                   void *arg) {
  struct pv_guard *guard = arg;
  (void)version;
  pv_word_forget(ssl);  // ahead of all else: a ClientHello in SSL 2's format has another content type
  if (content_type != CONTENT_HANDSHAKE || len == 0) return;
  int type = *(const uint8_t *)message;
  int held = hold(guard, ssl, type);
  if (is_write) return;
  switch (type) {
    case MESSAGE_SERVER_HELLO:          // has a server's extensions up to TLS 1.2
    case MESSAGE_ENCRYPTED_EXTENSIONS:  // has them in TLS 1.3
      pv_connection_unprove(ssl);
      if (held) announce(PV_HELLO, guard, ssl);
      break;
    case MESSAGE_CLIENT_HELLO:  // which OpenSSL may decline in mid-connection, and go on
      if (held) announce(PV_HELLO, guard, ssl);
      break;
    case MESSAGE_CERTIFICATE:
    case MESSAGE_COMPRESSED_CERTIFICATE:
      pv_connection_unprove(ssl);
      if (held) announce(PV_CERTIFICATES, guard, ssl);
      break;
    case MESSAGE_FINISHED:
      check_finished(guard, ssl, message, len);
      break;
    default:
      break;
  }
}
