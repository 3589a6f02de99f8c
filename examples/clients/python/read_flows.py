#!/usr/bin/env python3
"""Prints the flows of a Kafka topic, one a line, and commits what it has printed.

    pip install -r requirements.txt
    ./read_flows.py --brokers kafka.example.net:9093 --topic tenant-1001 --group billing \\
        --tls --user tenant-1001 --password-file password

The topic has goflow2's format and framing: a value is any number of messages, each after its length.
"""

import argparse
import io
import ipaddress
import pathlib
import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException
from google.protobuf import proto
from google.protobuf.message import DecodeError

# What waiting does not change.
FINAL = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
}

HERE = pathlib.Path(__file__).resolve().parent
GENERATED = HERE / "generated"


def flow_message():
    """The class of a flow, generated from the .proto file the first time."""
    module = GENERATED / "sluice" / "flow" / "v1" / "flow_pb2.py"
    if not module.exists():
        from grpc_tools import protoc

        root = HERE.parents[2] / "proto"
        GENERATED.mkdir(exist_ok=True)
        code = protoc.main(["protoc", f"-I{root}", f"--python_out={GENERATED}", "sluice/flow/v1/flow.proto"])
        if code != 0:
            sys.exit(f"read_flows: protoc could not compile {root}/sluice/flow/v1/flow.proto")
    sys.path.insert(0, str(GENERATED))
    from sluice.flow.v1 import flow_pb2

    return flow_pb2.FlowMessage


def flows_of(message_class, value):
    """All flows of one value. A bad one raises an error before any is returned."""
    flows, stream = [], io.BytesIO(value)
    while (flow := proto.parse_length_prefixed(message_class, stream)) is not None:
        flows.append(flow)
    return flows


def address(raw):
    """An address of 4 or 16 bytes as text; IPv4 in IPv6 form as IPv4; `-` if there is none."""
    if not raw:
        return "-"
    parsed = ipaddress.ip_address(raw)
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def line(flow):
    start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(flow.time_flow_start_ns // 1_000_000_000))
    source = f"{address(flow.src_addr)}:{flow.src_port}"
    target = f"{address(flow.dst_addr)}:{flow.dst_port}"
    return f"{start} {source} -> {target} proto {flow.proto} bytes {flow.bytes} packets {flow.packets}"


def settings(options):
    kafka = {
        "bootstrap.servers": options.brokers,
        "group.id": options.group,
        "auto.offset.reset": "earliest",
        # Only what has been printed is stored, and what is stored is committed in the background.
        "enable.auto.offset.store": False,
        "error_cb": lambda error: print(f"read_flows: {error}", file=sys.stderr),
    }
    if options.user:
        password = pathlib.Path(options.password_file).read_text().strip()
        kafka |= {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": options.user, "sasl.password": password}
    if options.ca:
        kafka["ssl.ca.location"] = options.ca
    kafka["security.protocol"] = ("sasl_" if options.user else "") + ("ssl" if options.tls else "plaintext")
    return kafka


def main():
    parser = argparse.ArgumentParser(description="Print the flows of a Kafka topic, one a line.")
    parser.add_argument("--brokers", required=True, help="HOST:PORT, with commas between several")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--group", required=True, help="consumer group; it begins where it last stopped")
    parser.add_argument("--count", type=int, help="stop after so many flows (default: never)")
    parser.add_argument("--tls", action="store_true", help="encrypt the connection")
    parser.add_argument("--ca", help="PEM file with the authority of the brokers' certificates")
    parser.add_argument("--user", help="log in with SCRAM-SHA-512")
    parser.add_argument("--password-file", help="file with the password of --user")
    options = parser.parse_args()
    if options.user and not options.password_file:
        parser.error("--user needs --password-file")

    message_class = flow_message()
    consumer = Consumer(settings(options))
    consumer.subscribe([options.topic])
    printed = 0
    try:
        while options.count is None or printed < options.count:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                # librdkafka goes on trying; a topic that is not there, or not ours, will not get better.
                if message.error().code() in FINAL or message.error().fatal():
                    raise KafkaException(message.error())
                print(f"read_flows: {message.error()}", file=sys.stderr)
                continue
            where = f"offset {message.offset()} of partition {message.partition()} of {message.topic()}"
            try:
                flows = flows_of(message_class, message.value() or b"")
            except (DecodeError, EOFError, ValueError) as error:
                print(f"read_flows: the value at {where} cannot be read: {error}", file=sys.stderr)
                flows = []
            wanted = flows if options.count is None else flows[: options.count - printed]
            for flow in wanted:
                print(line(flow))
            printed += len(wanted)
            # A value of which some flows are left comes again.
            if len(wanted) == len(flows):
                consumer.store_offsets(message)
    except KeyboardInterrupt:
        pass
    except KafkaException as error:
        sys.exit(f"read_flows: {error}")
    finally:
        sys.stdout.flush()
        # Commits what was stored and leaves the group.
        consumer.close()


if __name__ == "__main__":
    main()
