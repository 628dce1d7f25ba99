;; Tries: to open a TCP socket
;; Stopped by: deny by default: access-denied
(component
  (import "wasi:sockets/tcp@0.2.6" (instance $tcp (export "tcp-socket" (type (sub resource)))))
  (alias export $tcp "tcp-socket" (type $socket))
  (import "wasi:sockets/network@0.2.6" (instance $network
    (type $code' (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit" "address-not-bindable"
      "address-in-use" "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
      "datagram-too-large" "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure"))
    (export "error-code" (type (eq $code')))
    (type $family' (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $family')))))
  (alias export $network "error-code" (type $error-code))
  (alias export $network "ip-address-family" (type $family))
  (import "wasi:sockets/tcp-create-socket@0.2.6" (instance $create
    (alias outer 1 $socket (type $s')) (export "tcp-socket" (type $s (eq $s')))
    (alias outer 1 $error-code (type $e')) (export "error-code" (type $e (eq $e')))
    (alias outer 1 $family (type $f')) (export "ip-address-family" (type $f (eq $f')))
    (export "create-tcp-socket" (func (param "address-family" $f) (result (result (own $s) (error $e)))))))
  (core module $memory-and-realloc
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $lib (instantiate $memory-and-realloc))
  (alias core export $lib "memory" (core memory $memory))
  (alias core export $lib "realloc" (core func $realloc))
  (core func $call (canon lower (func $create "create-tcp-socket") (memory $memory)))
  (core module $m
    (import "host" "call" (func $call (param i32 i32)))
    (import "lib" "memory" (memory 1))
    (func (export "run") (result i32)
      (call $call (i32.const 0) (i32.const 8))
      ;; ok would be 0; access-denied is error 1.
      (if (i32.eqz (i32.load8_u (i32.const 8))) (then unreachable))
      (if (i32.ne (i32.load8_u (i32.const 12)) (i32.const 1)) (then unreachable))
      (i32.const 0)))
  (core instance $i (instantiate $m (with "host" (instance (export "call" (func $call)))) (with "lib" (instance $lib))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
