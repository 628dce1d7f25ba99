;; Tries: to ask the host's name servers, which tells somebody outside
;; Stopped by: deny by default: permanent-resolver-failure
(component
  (import "wasi:sockets/network@0.2.6" (instance $network
    (export "network" (type (sub resource)))
    (type $code' (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit" "address-not-bindable"
      "address-in-use" "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
      "datagram-too-large" "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure"))
    (export "error-code" (type (eq $code')))))
  (alias export $network "network" (type $net))
  (alias export $network "error-code" (type $error-code))
  (import "wasi:sockets/instance-network@0.2.6" (instance $instance-network
    (alias outer 1 $net (type $n')) (export "network" (type $n (eq $n')))
    (export "instance-network" (func (result (own $n))))))
  (import "wasi:sockets/ip-name-lookup@0.2.6" (instance $lookup
    (alias outer 1 $net (type $n')) (export "network" (type $n (eq $n')))
    (alias outer 1 $error-code (type $e')) (export "error-code" (type $e (eq $e')))
    (export "resolve-address-stream" (type $answers (sub resource)))
    (export "resolve-addresses" (func (param "network" (borrow $n)) (param "name" string) (result (result (own $answers) (error $e)))))))
  (core module $memory-and-realloc
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $lib (instantiate $memory-and-realloc))
  (alias core export $lib "memory" (core memory $memory))
  (alias core export $lib "realloc" (core func $realloc))
  (core func $network (canon lower (func $instance-network "instance-network")))
  (core func $resolve (canon lower (func $lookup "resolve-addresses") (memory $memory)))
  (core module $m
    (import "host" "network" (func $network (result i32)))
    (import "host" "resolve" (func $resolve (param i32 i32 i32 i32)))
    (import "lib" "memory" (memory 1))
    (data (i32.const 64) "localhost")
    (func (export "run") (result i32)
      (call $resolve (call $network) (i32.const 64) (i32.const 9) (i32.const 0))
      ;; ok would be 0; permanent-resolver-failure is error 20.
      (if (i32.eqz (i32.load8_u (i32.const 0))) (then unreachable))
      (if (i32.ne (i32.load8_u (i32.const 4)) (i32.const 20)) (then unreachable))
      (i32.const 0)))
  (core instance $i (instantiate $m (with "lib" (instance $lib)) (with "host" (instance
    (export "network" (func $network)) (export "resolve" (func $resolve))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
