// SPDX-License-Identifier: Apache-2.0

#include "pv_connection.h"

enum { SSL3_VERSION = 0x0300, ERROR_LIBRARY_SSL = 20, ERROR_CERTIFICATE_VERIFY_FAILED = 134 };

#ifdef _MSC_VER
#define PV_THREAD_LOCAL __declspec(thread)
#else
#define PV_THREAD_LOCAL _Thread_local
#endif

static PV_THREAD_LOCAL struct {
  struct pv_word words[PV_WORDS];  // the latest first
  size_t count;
} thread;

const struct pv_word *pv_word_about(enum pv_heard heard, const SSL *ssl) {
  for (size_t i = 0; ssl != NULL && i < thread.count; i++) {
    if (thread.words[i].ssl == ssl) return thread.words[i].heard == heard ? &thread.words[i] : NULL;
  }
  return NULL;
}

void pv_word_leave(const struct pv_word *word) {
  const struct pv_word left = *word;  // it may be one of those that move
  pv_word_forget(left.ssl);
  if (thread.count < PV_WORDS) thread.count++;
  for (size_t i = thread.count - 1; i > 0; i--) thread.words[i] = thread.words[i - 1];
  thread.words[0] = left;
}

void pv_word_forget(const SSL *ssl) {
  size_t kept = 0;
  for (size_t i = 0; i < thread.count; i++) {
    if (thread.words[i].ssl == ssl) continue;
    if (kept != i) thread.words[kept] = thread.words[i];
    kept++;
  }
  thread.count = kept;
}

long pv_connection_marks(SSL *ssl) { return pv_openssl.SSL_set_mode(ssl, 0); }

// What these two return is the mode that there is then.
void pv_connection_prove(SSL *ssl) { (void)pv_openssl.SSL_set_mode(ssl, PV_PROVEN); }

void pv_connection_unprove(SSL *ssl) { (void)pv_openssl.SSL_clear_mode(ssl, PV_PROVEN); }

void pv_connection_spoil(SSL *ssl) {
  SSL_SESSION *session = pv_openssl.SSL_get_session(ssl);
  if (session != NULL) (void)pv_openssl.SSL_SESSION_set_protocol_version(session, SSL3_VERSION);
}

int pv_connection_conclude(struct pv_guard *guard, SSL *ssl, const char *host, struct pv_verdict verdict) {
  struct pv_report report = {.verdict = verdict, .host = host, .x509_depth = -1, .ssl = ssl};
  if (pv_guard_conclude(guard, &report)) return 1;
  pv_openssl.ERR_put_error(ERROR_LIBRARY_SSL, 0, ERROR_CERTIFICATE_VERIFY_FAILED, NULL, 0);
  return 0;
}

int pv_connection_refuse(struct pv_guard *guard, SSL *ssl, enum pv_reason reason) {
  struct pv_host host = {.len = 0};
  if (guard != NULL && pv_guard_reference(guard, ssl, &host) != PV_PINNED) host.text[0] = '\0';
  return pv_connection_conclude(guard, ssl, host.text, pv_refusal(reason));
}

struct pv_verdict pv_refusal(enum pv_reason reason) {
  return (struct pv_verdict){.reason = reason, .entry = PV_UNLISTED_DENY, .depth = -1};
}
