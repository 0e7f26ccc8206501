// SPDX-License-Identifier: Apache-2.0

#include "pv_guard.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pv_chain.h"

#ifdef _MSC_VER
#define PV_THREAD_LOCAL __declspec(thread)
#else
#define PV_THREAD_LOCAL _Thread_local
#endif

// Constants of OpenSSL's and of TLS. At import engine/openssl.py compares OpenSSL's with those of the
// binding.
enum {
  VERIFY_PEER = 0x01,
  VERIFY_FAIL_IF_NO_PEER_CERT = 0x02,
  MODE_GUARDED = 0x40000000,  // a bit of the mode that OpenSSL does not use
  SENT_SHUTDOWN = 0x01,
  SHUTDOWN_BOTH_WAYS = 0x03,
  NAMETYPE_HOST = 0,
  SERVER_NAME_FATAL = 2,
  SERVER_NAME_UNUSED = 3,
  ALERT_HANDSHAKE_FAILURE = 40,  // RFC 8446 6; what OpenSSL sends for a certificate that on_verify refuses
  CHECK_NO_PARTIAL_WILDCARDS = 0x04,
  CHECK_NEVER_SUBJECT = 0x20,
  CONTENT_HANDSHAKE = 22,               // RFC 8446 5.1
  MESSAGE_CLIENT_HELLO = 1,             // RFC 8446 4
  MESSAGE_SERVER_HELLO = 2,             // RFC 8446 4
  MESSAGE_ENCRYPTED_EXTENSIONS = 8,     // RFC 8446 4
  MESSAGE_CERTIFICATE = 11,             // RFC 8446 4
  MESSAGE_FINISHED = 20,                // RFC 8446 4
  MESSAGE_COMPRESSED_CERTIFICATE = 25,  // RFC 8879 7.3
  // A Certificate message of up to so many octets has none: the validity of one alone takes 32. Without any
  // it has 7 to 40: headers of TLS or DTLS, a context as OpenSSL has it (RFC 8446 4.4.2), and the list's
  // length.
  NO_CERTIFICATE = 48,
  ERROR_LIBRARY_SSL = 20,
  ERROR_CERTIFICATE_VERIFY_FAILED = 134,
  X509_OK = 0,
  X509_ERROR_APPLICATION_VERIFICATION = 50,
};

// What the message callback leaves to the callback that decides, which OpenSSL calls next in the same thread:
// for a hello the one for server names, for certificates the verify callback. These have no user pointer that
// could be had, and SSL_get_SSL_CTX and the ex_data setters are not among the functions that are bound.
enum heard { NOTHING, HELLO, CERTIFICATES };
static PV_THREAD_LOCAL struct expectation {
  enum heard heard;
  const SSL *ssl;          // whose message it was
  struct pv_guard *guard;  // its guard, which may be gone when |ssl| is
  struct pv_host reference;
  enum pv_reason refusal;  // why there is no reference; PV_PINNED if there is
} current;

// conclude counts a verdict, tells Python if it is a refusal or a violation, and returns 1 if the peer is
// accepted. A violation of which Python could not be told refuses: it is all that report mode is there for.
static PV_MUST_USE int conclude(struct pv_guard *guard, const struct pv_report *report) {
  const struct pv_verdict *verdict = &report->verdict;
  int accepted = verdict->accepted;
  if (!accepted || verdict->reason < PV_PINNED)
    accepted = (guard->tell(guard->owner, report) == 1) && accepted;
  atomic_fetch_add_explicit(&guard->counts[accepted][verdict->reason], 1, memory_order_relaxed);
  return accepted;
}

// refusal is the verdict that something other than the policy gave.
static struct pv_verdict refusal(enum pv_reason reason) {
  return (struct pv_verdict){.reason = reason, .entry = PV_UNLISTED_DENY, .depth = -1};
}

static pv_slice host_slice(const struct pv_host *host) { return pv_slice_of(host->text, host->len); }

// open_decision returns 1 if the verdict depends on the chain, and 0 if it stands already: as PV_INTERNAL, if
// the clock fails.
static PV_MUST_USE int open_decision(struct pv_decision *decision, const struct pv_guard *guard,
                                     const struct pv_host *host) {
  time_t now = time(NULL);
  *decision = (struct pv_decision){.verdict = refusal(PV_INTERNAL)};
  return now != (time_t)-1 && pv_decision_open(decision, guard->policy, host_slice(host), now);
}

// -- The reference name --

// find_reference gives the host that the connection wants: the name that it sends, else the one that it was
// made for, else the one of the context. It returns PV_PINNED, or the reason to refuse.
static PV_MUST_USE enum pv_reason find_reference(struct pv_guard *guard, SSL *ssl, struct pv_host *out_host) {
  if (guard->is_server) return PV_PINNED;  // its peers have keys, not names: |*out_host| stays empty
  const char *sni = pv_openssl.SSL_get_servername(ssl, NAMETYPE_HOST);
  if (sni != NULL)
    return pv_host_from_sni(pv_slice_of(sni, strlen(sni)), out_host) ? PV_PINNED : PV_BAD_REFERENCE;
  if (pv_references_find(guard->references, ssl, out_host)) return PV_PINNED;
  if (guard->host.len == 0) return PV_NO_REFERENCE;
  *out_host = guard->host;
  return PV_PINNED;
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

// mark and unmark put a connection that is neither shut down nor refused under SENT_SHUTDOWN, and take it out
// again. Under it the handshake goes on, and no application data can be sent. Nor can an alert.
static void mark(SSL *ssl) {
  if (pv_openssl.SSL_get_shutdown(ssl) == 0) pv_openssl.SSL_set_shutdown(ssl, SENT_SHUTDOWN);
}

static void unmark(SSL *ssl) {
  if (pv_openssl.SSL_get_shutdown(ssl) == SENT_SHUTDOWN) pv_openssl.SSL_set_shutdown(ssl, 0);
}

// expect prepares for the callback that decides. The name that a client has sent is read while OpenSSL still
// tells it: once a session is resumed, it names that one's host (SSL_get_servername(3), TLS 1.2).
static void expect(enum heard heard, struct pv_guard *guard, SSL *ssl) {
  current.heard = heard;
  current.ssl = ssl;
  current.guard = guard;
  memset(&current.reference, 0, sizeof current.reference);
  current.refusal = find_reference(guard, ssl, &current.reference);
}

// expect_certificates marks the connection until the verify callback has accepted. If another thread
// displaces that callback just now, the mark stays. An empty list of certificates comes to no callback.
static void expect_certificates(struct pv_guard *guard, SSL *ssl, int held, size_t len) {
  if (len > NO_CERTIFICATE) mark(ssl);
  expect(CERTIFICATES, guard, ssl);
  if (current.refusal == PV_PINNED && !(held && bind(guard, ssl, &current.reference)))
    current.refusal = PV_INTERNAL;
}

// -- Sessions, and the end of the handshake --

// put_error leaves the error that a refused certificate leaves.
static void put_error(void) {
  pv_openssl.ERR_put_error(ERROR_LIBRARY_SSL, 0, ERROR_CERTIFICATE_VERIFY_FAILED, "", 0);
}

// judge_resumed gives the verdict on a session that the session id context (the policy's fingerprint) has let
// through. What is left to ask: the entry may have expired since; and a session says nothing of the host that
// it was made for, so that only a context for one host can know.
static PV_MUST_USE struct pv_verdict judge_resumed(const struct pv_guard *guard, const char *reference) {
  struct pv_decision decision;
  int sole_host = guard->host.len != 0 && strcmp(reference, guard->host.text) == 0;
  if (!guard->is_server && !sole_host) return refusal(PV_SESSION);
  if (!open_decision(&decision, guard, &guard->host)) return pv_decision_close(&decision);
  return (struct pv_verdict){
      .reason = PV_RESUMED, .accepted = 1, .entry = decision.verdict.entry, .depth = -1};
}

static PV_MUST_USE int refuse_hello(int *alert) {
  *alert = ALERT_HANDSHAKE_FAILURE;
  put_error();
  return SERVER_NAME_FATAL;
}

// on_server_name runs for each hello: on a server for the ClientHello, on a client for the message that has
// the server's extensions; whether or not there is a name. OpenSSL knows by then whether it resumes a
// session, for which it calls no verify callback. What is refused here ends the handshake with an alert.
//
// OpenSSL looks it up in the context that the connection has now. One that was made from a plain context and
// moved here has no message callback and no guard; the mode tells, which a connection has from its making.
static int on_server_name(SSL *ssl, int *alert, void *arg) {
  if ((pv_openssl.SSL_set_mode(ssl, 0) & MODE_GUARDED) == 0) return SERVER_NAME_UNUSED;
  if (current.heard != HELLO || ssl != current.ssl) return refuse_hello(alert);  // as in on_verify
  struct pv_guard *guard = current.guard;
  current.heard = NOTHING;
  if (pv_openssl.SSL_session_reused(ssl)) {
    struct pv_report report = {.host = current.reference.text, .x509_depth = -1, .ssl = ssl};
    report.verdict = judge_resumed(guard, current.reference.text);
    if (!report.verdict.accepted && !conclude(guard, &report)) return refuse_hello(alert);
  }
  return guard->server_name == NULL ? SERVER_NAME_UNUSED : guard->server_name(ssl, alert, arg);
}

static PV_MUST_USE int has_certificate(SSL *ssl) {
  X509 *cert = pv_openssl.SSL_get_peer_certificate(ssl);
  int has = cert != NULL;
  pv_openssl.X509_free(cert);
  return has;
}

// check_finished runs when the peer's Finished has come in, before the handshake is complete. OpenSSL calls
// no verify callback for a resumed session; and none for a peer that it did not ask for a certificate, or one
// without effect, if a program meddled with the verification just then. No error can be returned from here:
// what is shut down both ways sends and takes no application data, unless its program takes that back.
static void check_finished(struct pv_guard *guard, SSL *ssl, int held) {
  struct pv_report report = {.host = guard->host.text, .x509_depth = -1, .ssl = ssl};
  report.x509_error = (int)pv_openssl.SSL_get_verify_result(ssl);
  if (!held) {
    report.verdict = refusal(PV_INTERNAL);
  } else if (!has_certificate(ssl)) {
    report.verdict = refusal(PV_CHAIN_LENGTH);
  } else if (report.x509_error != X509_OK) {
    report.verdict = refusal(PV_OPENSSL);
  } else if (pv_openssl.SSL_get_shutdown(ssl) != 0) {  // the mark: no verify callback has accepted
    report.verdict = refusal(PV_INTERNAL);
  } else if (pv_openssl.SSL_session_reused(ssl)) {  // once more: a program may displace on_server_name
    struct pv_host host;
    report.verdict = judge_resumed(guard, pv_guard_reference(guard, ssl, &host) ? host.text : "");
  } else {
    return;
  }
  if (conclude(guard, &report)) return;
  pv_openssl.SSL_set_shutdown(ssl, SHUTDOWN_BOTH_WAYS);
  put_error();
}

// -- The decision --

// decide judges the verified chain, or in pins-only mode the leaf. There its key must really be pinned: an
// entry that accepts for another reason relies on a CA and on a name, and neither is looked at.
static PV_MUST_USE struct pv_verdict decide(const struct pv_guard *guard, X509_STORE_CTX *store_ctx,
                                            const struct pv_host *host) {
  struct pv_decision decision;
  if (open_decision(&decision, guard, host) && !pv_chain_feed(store_ctx, guard->pins_only, &decision)) {
    return refusal(PV_INTERNAL);
  }
  struct pv_verdict verdict = pv_decision_close(&decision);
  return guard->pins_only && verdict.accepted && verdict.reason != PV_PINNED ? refusal(PV_OPENSSL) : verdict;
}

// is_waivable lists the errors that a pinned leaf makes good in pins-only mode, where no anchor, name or date
// is looked at (RFC 7671 5.1): those that OpenSSL has for a missing or untrusted issuer, for a name and for
// dates.
static PV_MUST_USE int is_waivable(int x509_error) {
  switch (x509_error) {
    case 2:   // X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT
    case 9:   // X509_V_ERR_CERT_NOT_YET_VALID
    case 10:  // X509_V_ERR_CERT_HAS_EXPIRED
    case 18:  // X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
    case 19:  // X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
    case 20:  // X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    case 21:  // X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE
    case 27:  // X509_V_ERR_CERT_UNTRUSTED
    case 62:  // X509_V_ERR_HOSTNAME_MISMATCH
    case 64:  // X509_V_ERR_IP_ADDRESS_MISMATCH
    case 79:  // X509_V_ERR_INVALID_CA
      return 1;
    default:
      return 0;
  }
}

// judge_failure gives the verdict when OpenSSL refuses a certificate. It stays refused, save for a pinned
// leaf in pins-only mode.
static PV_MUST_USE struct pv_verdict judge_failure(const struct pv_guard *guard, X509_STORE_CTX *store_ctx,
                                                   int x509_error, const struct pv_host *host) {
  if (!guard->pins_only || !is_waivable(x509_error)) return refusal(PV_OPENSSL);
  return decide(guard, store_ctx, host);
}

static int verify_mode(const struct pv_guard *guard) {
  return guard->is_server ? VERIFY_PEER | VERIFY_FAIL_IF_NO_PEER_CERT : VERIFY_PEER;
}

static int on_verify(int ok, X509_STORE_CTX *store_ctx) {
  SSL *ssl =
      pv_openssl.X509_STORE_CTX_get_ex_data(store_ctx, pv_openssl.SSL_get_ex_data_X509_STORE_CTX_idx());
  if (current.heard != CERTIFICATES || ssl == NULL || ssl != current.ssl) {
    // Not the connection whose certificates came in: there is no policy to ask.
    pv_openssl.X509_STORE_CTX_set_error(store_ctx, X509_ERROR_APPLICATION_VERIFICATION);
    return 0;
  }
  const struct expectation expected = current;
  struct pv_guard *guard = expected.guard;
  struct pv_report report = {.host = expected.reference.text, .ssl = ssl, .store_ctx = store_ctx};
  report.x509_error = pv_openssl.X509_STORE_CTX_get_error(store_ctx);
  report.x509_depth = pv_openssl.X509_STORE_CTX_get_error_depth(store_ctx);

  if (expected.refusal != PV_PINNED) {
    report.verdict = refusal(expected.refusal);
  } else if (ok != 1) {
    report.verdict = judge_failure(guard, store_ctx, report.x509_error, &expected.reference);
    if (report.verdict.accepted) {  // the same leaf comes by once more, when OpenSSL is done with the chain
      pv_openssl.X509_STORE_CTX_set_error(store_ctx, X509_OK);
      return 1;
    }
  } else if (report.x509_depth > 0) {
    return 1;  // the chain is judged as a whole, when all its signatures have been checked: at the leaf
  } else {
    report.verdict = decide(guard, store_ctx, &expected.reference);
  }
  current.heard = NOTHING;  // telling lets the program run, which may make a handshake of its own
  int accepted = conclude(guard, &report);
  unmark(ssl);
  if (accepted) {
    current = expected;  // OpenSSL looks at name constraints and policies after this, and may call once more
    return 1;
  }
  // Once more: OpenSSL looks at the mode after this, and telling has let the program run.
  pv_openssl.SSL_set_verify(ssl, verify_mode(guard), on_verify);
  if (report.verdict.reason != PV_OPENSSL) {
    pv_openssl.X509_STORE_CTX_set_error(store_ctx, X509_ERROR_APPLICATION_VERIFICATION);
  }
  return 0;
}

// -- The guard itself --

// hold puts back on the connection what its program may have changed since: the verify callback, and on a
// client the context with its trust anchors and session scope. A server's context stays as it is, since
// changing it is how one serves several names. It returns 1 if all is in place.
static PV_MUST_USE int hold(const struct pv_guard *guard, SSL *ssl) {
  pv_openssl.SSL_set_verify(ssl, verify_mode(guard), on_verify);
  return guard->is_server || pv_openssl.SSL_set_SSL_CTX(ssl, guard->context) == guard->context;
}

static void on_message(int is_write, int version, int content_type, void *message, size_t len, SSL *ssl,
                       void *arg) {
  struct pv_guard *guard = arg;
  (void)version;
  current.heard = NOTHING;
  if (content_type != CONTENT_HANDSHAKE || len == 0) return;
  int held = hold(guard, ssl), type = *(const uint8_t *)message;
  if (is_write) return;
  switch (type) {
    case MESSAGE_CLIENT_HELLO:
    case MESSAGE_SERVER_HELLO:          // has a server's extensions up to TLS 1.2
    case MESSAGE_ENCRYPTED_EXTENSIONS:  // has them in TLS 1.3
      expect(HELLO, guard, ssl);
      break;
    case MESSAGE_CERTIFICATE:
    case MESSAGE_COMPRESSED_CERTIFICATE:
      expect_certificates(guard, ssl, held, len);
      break;
    case MESSAGE_FINISHED:
      check_finished(guard, ssl, held);
      break;
    default:
      break;
  }
}

struct pv_guard *pv_guard_new(const struct pv_policy *policy, void *context, int is_server, int pins_only,
                              const struct pv_host *host, void *owner,
                              int (*tell)(void *, const struct pv_report *)) {
  struct pv_guard *guard = calloc(1, sizeof *guard);
  if (guard == NULL) return NULL;
  guard->references = pv_references_new();
  if (guard->references == NULL) {
    free(guard);
    return NULL;
  }
  guard->policy = policy;
  guard->context = context;
  guard->is_server = is_server;
  guard->pins_only = pins_only;
  if (host != NULL) guard->host = *host;
  guard->owner = owner;
  guard->tell = tell;
  return guard;
}

void pv_guard_free(struct pv_guard *guard) {
  if (guard == NULL) return;
  pv_references_free(guard->references);
  free(guard);
}

void pv_guard_install(struct pv_guard *guard) {
  (void)pv_openssl.SSL_CTX_set_mode(guard->context, MODE_GUARDED);
  pv_openssl.SSL_CTX_set_verify(guard->context, verify_mode(guard), on_verify);
  pv_openssl.SSL_CTX_set_tlsext_servername_callback(guard->context, on_server_name);
  pv_openssl.SSL_CTX_set_msg_callback(guard->context, on_message);
  pv_openssl.SSL_CTX_set_msg_callback_arg(guard->context, guard);
}

void pv_guard_set_server_name(struct pv_guard *guard, void *function) {
  memcpy(&guard->server_name, &function, sizeof function);  // as in pv_openssl_set
  pv_openssl.SSL_CTX_set_tlsext_servername_callback(guard->context, on_server_name);
}

int pv_guard_reference(struct pv_guard *guard, void *ssl, struct pv_host *out_host) {
  memset(out_host, 0, sizeof *out_host);
  return find_reference(guard, ssl, out_host) == PV_PINNED && out_host->len != 0;
}

int pv_guard_judge(struct pv_guard *guard, void *ssl, int64_t now, struct pv_judgement *out) {
  pv_slice chain[PV_MAX_CHAIN];
  if (!pv_guard_reference(guard, ssl, &out->host)) memset(&out->host, 0, sizeof out->host);
  out->count = pv_chain_verified(ssl, out->der, sizeof out->der, out->ends);
  if (out->count < 0) return 0;
  if (guard->pins_only && out->count > 1) out->count = 1;
  size_t start = 0;
  for (int i = 0; i < out->count; i++) {
    chain[i] = pv_slice_of(out->der + start, out->ends[i] - start);
    start = out->ends[i];
  }
  out->verdict = pv_decide(guard->policy, host_slice(&out->host), now, chain, (size_t)out->count);
  return 1;
}

uint64_t pv_guard_count(struct pv_guard *guard, int accepted, int reason) {
  if (accepted < 0 || accepted > 1 || reason < 0 || reason >= PV_REASON_COUNT) return 0;
  return atomic_load_explicit(&guard->counts[accepted][reason], memory_order_relaxed);
}
