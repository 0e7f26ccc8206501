// SPDX-License-Identifier: Apache-2.0
//
// The OpenSSL callbacks in which the guard decides. They run in the thread of the handshake, without the
// GIL, and each has a result but for the last two.
//
// - The one for server names decides about a session that is resumed, the verify callback about certificates.
// - The one for our own certificate, and the one for information, belong to the context that a connection has
//   at the time. They refuse what was made elsewhere and moved there; and a client's keeps its certificate
//   from a peer about whom nobody has decided.
//
// - The one for key logs does so too on a server, where one for information may be a connection's own. It
//   logs nothing.
//
// docs/how-it-works.md has all of them, and the message callback (pv_message.h), in one diagram.

#ifndef PV_HANDSHAKE_H
#define PV_HANDSHAKE_H

#include "pv_guard.h"

// pv_handshake_install hangs all callbacks into the guard's context. Every connection that is made from it
// afterwards is guarded.
void pv_handshake_install(struct pv_guard *guard);

// pv_handshake_set_server_name puts the callback for server names back into the context, and lets it call
// |function|, which a program gave to SSL_CTX_set_tlsext_servername_callback.
void pv_handshake_set_server_name(struct pv_guard *guard, void *function);

// pv_handshake_hold_verify puts the verify callback and mode back on a connection.
void pv_handshake_hold_verify(const struct pv_guard *guard, SSL *ssl);

// pv_handshake_inform is the callback for information, for a program that has one of its own in that place:
// |ssl| is an SSL *, and |where| what OpenSSL says of it.
void pv_handshake_inform(void *ssl, int where);

// pv_handshake_keys is the callback for key logs, for such a program.
void pv_handshake_keys(void *ssl);

#endif  // PV_HANDSHAKE_H
