// SPDX-License-Identifier: Apache-2.0
//
// The reference name of a connection: which host its peer has to be.

#ifndef PV_HOST_H
#define PV_HOST_H

#include "pv_slice.h"

#define PV_HOST_MAX 253  // octets of a host name without its last dot, RFC 1035 2.3.4

// pv_host is a host name or an IP address in canonical form: a lower-case name without a last dot, or the
// shortest text of the address (RFC 5952) together with its 4 or 16 octets in network order. With |len| 0 it
// names nothing.
struct pv_host {
  char text[PV_HOST_MAX + 1];  // ends in a NUL
  uint8_t len;
  uint8_t ip_len;  // 0 for a name
  uint8_t ip[16];
};

// pv_host_from_sni reads |name| as a DNS host name: labels of 1 to 63 letters, digits, hyphens and
// underscores, with one last dot allowed. Addresses are not taken (RFC 6066 3 keeps them out of the server
// name extension), and so neither is a name whose last label is all digits, which others would read as an
// IPv4 address (RFC 1123 2.1). It returns 1, or 0 with
// |*out_host| untouched.
PV_MUST_USE int pv_host_from_sni(pv_slice name, struct pv_host *out_host);

#endif  // PV_HOST_H
