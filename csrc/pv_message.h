// SPDX-License-Identifier: Apache-2.0
//
// The message callback, which OpenSSL calls for each handshake message, ahead of its being processed. It puts
// back on the connection what a program may have changed, and leaves word of a hello or of certificates. When
// the peer's Finished has come in and the peer is not PROVEN, it changes an octet of it, in OpenSSL's own
// buffer: then OpenSSL itself ends the handshake, with an alert and without a session.

#ifndef PV_MESSAGE_H
#define PV_MESSAGE_H

#include "pv_guard.h"

// pv_on_message is that callback; |arg| is the guard.
void pv_on_message(int is_write, int version, int content_type, void *message, size_t len, SSL *ssl,
                   void *arg);

#endif  // PV_MESSAGE_H
