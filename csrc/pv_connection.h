// SPDX-License-Identifier: Apache-2.0
//
// What the guard leaves on a connection and in its thread from one OpenSSL callback to the next.
//
// Two marks are bits of a connection's mode that OpenSSL does not use. GUARDED is there from its making if it
// was made from a pinned context. PROVEN is there while its peer has been judged and accepted in this
// handshake: only callbacks with a result set it, once the policy has accepted, and the peer's next hello or
// certificate takes it back.

#ifndef PV_CONNECTION_H
#define PV_CONNECTION_H

#include "pv_guard.h"

// At import engine/openssl.py compares the OpenSSL constants that the binding has.
enum pv_mark { PV_GUARDED = 0x40000000, PV_PROVEN = 0x20000000 };

// pv_word is what the message callback leaves to the callback that decides about a message, which OpenSSL
// calls next in the same thread. Those are given no user pointer, and neither SSL_get_SSL_CTX nor the
// ex_data setters are among the functions that are bound.
enum pv_heard { PV_NOTHING, PV_HELLO, PV_CERTIFICATES };
struct pv_word {
  enum pv_heard heard;
  const SSL *ssl;          // whose message it was
  struct pv_guard *guard;  // its guard, which may be gone when |ssl| is
  struct pv_host reference;
  enum pv_reason obstacle;  // why there is no reference; PV_PINNED if there is, or none is needed
};

// A thread keeps so many words, the latest: a program's callback in between may make handshakes of its own,
// and so may one in those. Whose word has been pushed out is refused.
enum { PV_WORDS = 4 };

// pv_word_about gives this thread's word of such a message of |ssl|'s, or NULL. It is good until the next
// word is left.
PV_MUST_USE const struct pv_word *pv_word_about(enum pv_heard heard, const SSL *ssl);

void pv_word_leave(const struct pv_word *word);
void pv_word_forget(const SSL *ssl);

// pv_connection_marks gives the marks of a connection, among other bits.
PV_MUST_USE long pv_connection_marks(SSL *ssl);
void pv_connection_prove(SSL *ssl);
void pv_connection_unprove(SSL *ssl);

// pv_connection_spoil makes the session of a connection one of SSL 3, which no pinned context speaks: a
// client does not offer it, and a server answers it with a full handshake. Where that fails, the session is
// judged when it is resumed.
void pv_connection_spoil(SSL *ssl);

// pv_connection_conclude is pv_guard_conclude outside of a verification: what it refuses leaves the error
// that a refused certificate leaves.
PV_MUST_USE int pv_connection_conclude(struct pv_guard *guard, SSL *ssl, const char *host,
                                       struct pv_verdict verdict);

// pv_connection_refuse does so for what something other than the policy refused, and returns 0.
int pv_connection_refuse(struct pv_guard *guard, SSL *ssl, enum pv_reason reason);

// pv_refusal is the verdict that something other than the policy gave.
PV_MUST_USE struct pv_verdict pv_refusal(enum pv_reason reason);

#endif  // PV_CONNECTION_H
