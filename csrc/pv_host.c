// SPDX-License-Identifier: Apache-2.0

#include "pv_host.h"

#include <string.h>

// lower returns the canonical form of an octet of a label, or 0 if it may not stand in one. tolower would ask
// the locale.
static uint8_t lower(uint8_t c) {
  if (c >= 'A' && c <= 'Z') return (uint8_t)(c - 'A' + 'a');
  if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_') return c;
  return 0;
}

int pv_host_from_sni(pv_slice name, struct pv_host *out_host) {
  struct pv_host host;
  memset(&host, 0, sizeof host);
  if (name.len > 0 && name.data[name.len - 1] == '.') name.len--;
  if (name.len == 0 || name.len > PV_HOST_MAX) return 0;
  size_t label = 0, digits = 0;
  for (size_t i = 0; i < name.len; i++) {
    uint8_t c = name.data[i];
    if (c == '.') {
      if (label == 0) return 0;
      label = digits = 0;
    } else {
      c = lower(c);
      if (c == 0 || ++label > 63) return 0;
      if (c >= '0' && c <= '9') digits++;
    }
    host.text[i] = (char)c;
  }
  if (label == digits) return 0;  // the last label is empty or all digits
  host.len = (uint8_t)name.len;
  *out_host = host;
  return 1;
}
