#!/bin/sh
# Makes flowpb/ from the .proto file. PROTOC is protoc, or "python3 -m grpc_tools.protoc" (pip install grpcio-tools).
set -eu
cd "$(dirname "$0")"
package=github.com/sluice-flow/sluice/examples/clients/go/flowpb
${PROTOC:-protoc} -I ../../../proto --plugin="protoc-gen-go=$(go tool -n protoc-gen-go)" \
    --go_out=. --go_opt=module=github.com/sluice-flow/sluice/examples/clients/go \
    --go_opt="Msluice/flow/v1/flow.proto=$package" sluice/flow/v1/flow.proto
