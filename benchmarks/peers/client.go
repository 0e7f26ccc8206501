// SPDX-License-Identifier: Apache-2.0

// One of the clients of benchmarks/clients.py, which says what comes in and goes out: Go's crypto/tls with
// VerifyConnection, which Go calls inside the handshake when it has verified the chain.
package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type target struct {
	Port            int
	Host, Root, Pin string
}

type job struct {
	Pin            string
	Count, Threads int64
}

type result struct {
	Done bool    `json:"done"`
	Wall float64 `json:"wall"`
	CPU  float64 `json:"cpu"`
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "client.go:", err)
		os.Exit(2)
	}
}

// config verifies chain and name as Go does, and then looks for the key in the verified chains.
func config(to target, pin string) *tls.Config {
	pem, err := os.ReadFile(to.Root)
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	want, err := base64.StdEncoding.DecodeString(pin)
	must(err)
	verify := func(state tls.ConnectionState) error {
		for _, chain := range state.VerifiedChains {
			for _, cert := range chain {
				digest := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
				if string(digest[:]) == string(want) {
					return nil
				}
			}
		}
		return errors.New("not pinned")
	}
	return &tls.Config{RootCAs: roots, ServerName: to.Host, VerifyConnection: verify}
}

func connect(address string, with *tls.Config) error {
	connection, err := tls.Dial("tcp", address, with)
	if err != nil {
		return err
	}
	return connection.Close()
}

func cpuSeconds() float64 {
	var used syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

func run(to target, todo job) result {
	pin := to.Pin
	if todo.Pin != "right" {
		pin = base64.StdEncoding.EncodeToString(make([]byte, sha256.Size))
	}
	with, address := config(to, pin), fmt.Sprintf("127.0.0.1:%d", to.Port)
	runtime.GOMAXPROCS(int(todo.Threads))
	var made, failed int64
	var all sync.WaitGroup
	began, cpu := time.Now(), cpuSeconds()
	for i := int64(0); i < todo.Threads; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for atomic.AddInt64(&made, 1) <= todo.Count && atomic.LoadInt64(&failed) == 0 {
				if err := connect(address, with); err != nil {
					fmt.Fprintln(os.Stderr, "client.go:", err)
					atomic.StoreInt64(&failed, 1)
				}
			}
		}()
	}
	all.Wait()
	return result{failed == 0, time.Since(began).Seconds(), cpuSeconds() - cpu}
}

func main() {
	var to target
	must(json.Unmarshal([]byte(os.Args[1]), &to))
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var todo job
		must(json.Unmarshal(in.Bytes(), &todo))
		out, err := json.Marshal(run(to, todo))
		must(err)
		fmt.Println(string(out))
	}
}
