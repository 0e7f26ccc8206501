// SPDX-License-Identifier: Apache-2.0

#include "pv_handshake.h"

#include <string.h>
#include <time.h>

#include "pv_chain.h"
#include "pv_connection.h"
#include "pv_message.h"
#include "pv_rules.h"

enum {
  VERIFY_PEER = 0x01,
  VERIFY_FAIL_IF_NO_PEER_CERT = 0x02,
  SHUTDOWN_BOTH_WAYS = 0x03,
  INFO_HANDSHAKE_DONE = 0x20,
  SERVER_NAME_FATAL = 2,
  SERVER_NAME_UNUSED = 3,
  ALERT_HANDSHAKE_FAILURE = 40,  // RFC 8446 6; what OpenSSL sends for a certificate that on_verify refuses
  X509_OK = 0,
  X509_ERROR_APPLICATION_VERIFICATION = 50,
};

// -- Judging --

static struct pv_facts facts_of(const struct pv_word *word) {
  const struct pv_guard *guard = word->guard;
  const char *sole_host = guard->host.text;
  return (struct pv_facts){.is_server = guard->is_server,
                           .pins_only = guard->pins_only,
                           .sole_host = guard->host.len != 0 && strcmp(word->reference.text, sole_host) == 0,
                           .guarded = 1,
                           .announced = 1,
                           .obstacle = word->obstacle};
}

static pv_slice slice_of(const struct pv_host *host) { return pv_slice_of(host->text, host->len); }

// judge_chain gives the verdict on the verified chain, or in pins-only mode on the leaf.
static PV_MUST_USE struct pv_verdict judge_chain(const struct pv_guard *guard, X509_STORE_CTX *store_ctx,
                                                 const struct pv_host *reference) {
  struct pv_decision decision;
  time_t now = time(NULL);
  if (now == (time_t)-1) return pv_refusal(PV_INTERNAL);
  if (pv_decision_open(&decision, guard->policy, slice_of(reference), now) &&
      !pv_chain_feed(store_ctx, guard->pins_only, &decision)) {
    return pv_refusal(PV_INTERNAL);
  }
  return pv_decision_close(&decision);
}

// judge_session gives the verdict on a session that is resumed: by the leaf that it keeps, as if its entry
// never expired, and then by whether the entry has.
static PV_MUST_USE struct pv_verdict judge_session(const struct pv_guard *guard, SSL *ssl,
                                                   struct pv_facts facts) {
  pv_slice host = slice_of(&guard->host);
  struct pv_decision proof;
  time_t now = time(NULL);
  if (now == (time_t)-1) return pv_refusal(PV_INTERNAL);
  if (pv_decision_open(&proof, guard->policy, host, INT64_MIN) && !pv_chain_feed_kept(ssl, &proof)) {
    return pv_refusal(PV_INTERNAL);
  }
  struct pv_verdict standing = pv_decide(guard->policy, host, now, NULL, 0);
  struct pv_ruling ruling = pv_rule_resumed(facts, pv_decision_close(&proof), standing);
  return (struct pv_verdict){
      .reason = ruling.reason, .accepted = ruling.action == PV_ACCEPT, .entry = standing.entry, .depth = -1};
}

// -- The verify callback --

static int on_verify(int ok, X509_STORE_CTX *store_ctx);

static int verify_mode(const struct pv_guard *guard) {
  return guard->is_server ? VERIFY_PEER | VERIFY_FAIL_IF_NO_PEER_CERT : VERIFY_PEER;
}

void pv_handshake_hold_verify(const struct pv_guard *guard, SSL *ssl) {
  pv_openssl.SSL_set_verify(ssl, verify_mode(guard), on_verify);
}

// refuse_unknown refuses where no certificates of |ssl|'s have come in that the guard could have heard of:
// there is no policy to ask. It returns 0.
static int refuse_unknown(X509_STORE_CTX *store_ctx, SSL *ssl) {
  struct pv_report report = {.verdict = pv_refusal(PV_INTERNAL), .host = "", .ssl = ssl};
  if (ssl != NULL) pv_connection_unprove(ssl);
  pv_openssl.X509_STORE_CTX_set_error(store_ctx, X509_ERROR_APPLICATION_VERIFICATION);
  return pv_guard_conclude(NULL, &report);
}

static int on_verify(int ok, X509_STORE_CTX *store_ctx) {
  SSL *ssl =
      pv_openssl.X509_STORE_CTX_get_ex_data(store_ctx, pv_openssl.SSL_get_ex_data_X509_STORE_CTX_idx());
  const struct pv_word *found = pv_word_about(PV_CERTIFICATES, ssl);
  struct pv_report report = {.ssl = ssl, .store_ctx = store_ctx};
  if (found == NULL) return refuse_unknown(store_ctx, ssl);
  struct pv_facts facts = facts_of(found);
  facts.ok = ok;
  facts.depth = report.x509_depth = pv_openssl.X509_STORE_CTX_get_error_depth(store_ctx);
  facts.x509_error = report.x509_error = pv_openssl.X509_STORE_CTX_get_error(store_ctx);

  struct pv_ruling ruling = pv_rule_certificate(facts);
  if (ruling.action == PV_PASS) return 1;
  const struct pv_word word = *found;  // telling lets the program run, which may push it out
  report.host = word.reference.text;
  report.verdict = pv_refusal(ruling.reason);
  if (ruling.action != PV_REFUSE) {
    struct pv_verdict verdict = judge_chain(word.guard, store_ctx, &word.reference);
    struct pv_ruling judged = pv_rule_judged(facts, verdict);
    if (judged.action == PV_ACCEPT && ruling.action == PV_WAIVE) {
      pv_openssl.X509_STORE_CTX_set_error(store_ctx, X509_OK);
      return 1;  // the same leaf comes by once more, when OpenSSL is done with the chain
    }
    report.verdict = judged.reason == verdict.reason ? verdict : pv_refusal(judged.reason);
  }
  if (pv_guard_conclude(word.guard, &report)) {
    if (!pv_rule_keeps_session(facts, report.verdict)) pv_connection_spoil(ssl);
    pv_connection_prove(ssl);
    return 1;  // OpenSSL looks at name constraints and policies after this, and may call once more
  }
  pv_word_forget(ssl);
  pv_connection_unprove(ssl);
  pv_handshake_hold_verify(word.guard, ssl);  // OpenSSL looks at the mode next, and the program has run
  if (report.verdict.reason != PV_OPENSSL) {
    pv_openssl.X509_STORE_CTX_set_error(store_ctx, X509_ERROR_APPLICATION_VERIFICATION);
  }
  return 0;
}

// -- The other callbacks --

// accepts_hello decides about a hello for which a program's callback, if there is one, has run. That it has
// moved the connection shows in the list of CA names, of which each context has its own: |names| was it.
static PV_MUST_USE int accepts_hello(const struct pv_word *word, SSL *ssl, const void *names) {
  struct pv_facts facts = facts_of(word);
  facts.moved = facts.is_server && pv_openssl.SSL_get_client_CA_list(ssl) != names;
  facts.resumed = pv_openssl.SSL_session_reused(ssl);
  struct pv_ruling ruling = pv_rule_hello(facts);
  if (ruling.action == PV_PASS) {
    if (facts.moved) pv_connection_spoil(ssl);  // the session is one of the context that it was moved from
    if (facts.is_server) pv_word_leave(word);   // on_own_certificate is next
    return 1;
  }
  struct pv_verdict verdict =
      ruling.action == PV_JUDGE ? judge_session(word->guard, ssl, facts) : pv_refusal(ruling.reason);
  if (!pv_connection_conclude(word->guard, ssl, word->reference.text, verdict)) return 0;
  pv_connection_prove(ssl);
  return 1;
}

// on_server_name runs for each hello: on a server for the ClientHello, on a client for the message that has
// the server's extensions; whether or not there is a name. OpenSSL knows by then whether it resumes a
// session, for which it calls no verify callback. It looks this callback up in the context that the
// connection has now.
static int on_server_name(SSL *ssl, int *alert, void *arg) {
  const struct pv_word *found = pv_word_about(PV_HELLO, ssl);
  struct pv_facts facts = {.guarded = (pv_connection_marks(ssl) & PV_GUARDED) != 0};
  int accepted = 0, answer = SERVER_NAME_UNUSED;
  pv_connection_unprove(ssl);
  if (facts.guarded && found != NULL) {
    const struct pv_word word = *found;  // the program's callback may push it out
    pv_word_forget(ssl);
    const void *names = pv_openssl.SSL_get_client_CA_list(ssl);
    if (word.guard->server_name != NULL) answer = word.guard->server_name(ssl, alert, arg);
    if (answer == SERVER_NAME_FATAL) return answer;
    accepted = accepts_hello(&word, ssl, names);
  } else {
    accepted = pv_connection_refuse(NULL, ssl, pv_rule_hello(facts).reason);
  }
  if (accepted) return answer;
  *alert = ALERT_HANDSHAKE_FAILURE;
  return SERVER_NAME_FATAL;
}

// on_own_certificate runs on a server for each hello that resumes no session, and on a client when the server
// has asked for its certificate. |arg| is the guard of the context that the connection has now.
static int on_own_certificate(SSL *ssl, void *arg) {
  struct pv_guard *guard = arg;
  const struct pv_word *word = pv_word_about(PV_HELLO, ssl);
  long marks = pv_connection_marks(ssl);
  struct pv_facts facts = {.is_server = guard->is_server,
                           .guarded = (marks & PV_GUARDED) != 0,
                           .proven = (marks & PV_PROVEN) != 0,
                           .announced = word != NULL,
                           .moved = word != NULL && word->guard != guard};
  pv_word_forget(ssl);
  struct pv_ruling ruling = pv_rule_own_certificate(facts);
  return ruling.action == PV_PASS ? 1 : pv_connection_refuse(guard, ssl, ruling.reason);
}

// stop ends a connection from where no error can be returned: what is shut down both ways sends and takes no
// application data.
static void stop(SSL *ssl, struct pv_ruling ruling) {
  if (ruling.action == PV_PASS) return;
  pv_openssl.SSL_set_shutdown(ssl, SHUTDOWN_BOTH_WAYS);
  pv_connection_spoil(ssl);
  pv_connection_refuse(NULL, ssl, ruling.reason);
}

static void on_info(SSL *ssl, int where, int value) {
  (void)value;
  if (where != INFO_HANDSHAKE_DONE) return;
  long marks = pv_connection_marks(ssl);
  struct pv_facts facts = {.guarded = (marks & PV_GUARDED) != 0, .proven = (marks & PV_PROVEN) != 0};
  stop(ssl, pv_rule_done(facts));
}

// on_keys is called with each secret of a handshake, in hexadecimal, and looks at none. It is there because
// OpenSSL looks it up in the context that a server has been moved to, and a connection can have no other,
// as it can for information.
static void on_keys(SSL *ssl, char *line) {
  (void)line;
  stop(ssl, pv_rule_keys((struct pv_facts){.guarded = (pv_connection_marks(ssl) & PV_GUARDED) != 0}));
}

void pv_handshake_install(struct pv_guard *guard) {
  SSL_CTX *context = guard->context;
  (void)pv_openssl.SSL_CTX_set_mode(context, PV_GUARDED);
  pv_openssl.SSL_CTX_set_verify(context, verify_mode(guard), on_verify);
  pv_openssl.SSL_CTX_set_tlsext_servername_callback(context, on_server_name);
  pv_openssl.SSL_CTX_set_cert_cb(context, on_own_certificate, guard);
  pv_openssl.SSL_CTX_set_info_callback(context, on_info);
  if (guard->is_server) pv_openssl.SSL_CTX_set_keylog_callback(context, on_keys);
  pv_openssl.SSL_CTX_set_msg_callback(context, pv_on_message);
  pv_openssl.SSL_CTX_set_msg_callback_arg(context, guard);
}

void pv_handshake_set_server_name(struct pv_guard *guard, void *function) {
  memcpy(&guard->server_name, &function, sizeof function);  // as in pv_openssl_set
  pv_openssl.SSL_CTX_set_tlsext_servername_callback(guard->context, on_server_name);
}

void pv_handshake_inform(void *ssl, int where) { on_info(ssl, where, 0); }

void pv_handshake_keys(void *ssl) { on_keys(ssl, NULL); }
