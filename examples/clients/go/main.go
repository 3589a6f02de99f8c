// Read-flows prints the flows of a Kafka topic, one a line, and commits what it has printed.
//
//	go run . -brokers kafka.example.net:9093 -topic tenant-1001 -group billing \
//	    -tls -user tenant-1001 -password-file password
//
// The topic has goflow2's format and framing: a value is any number of messages, each after its length.
package main

//go:generate ./generate.sh

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/sluice-flow/sluice/examples/clients/go/flowpb"
)

var (
	brokers      = flag.String("brokers", "", "`HOST:PORT`, with commas between several")
	topic        = flag.String("topic", "", "the topic")
	group        = flag.String("group", "", "consumer group; it begins where it last stopped")
	count        = flag.Int("count", 0, "stop after so many flows; 0 is never")
	useTLS       = flag.Bool("tls", false, "encrypt the connection")
	ca           = flag.String("ca", "", "PEM `file` with the authority of the brokers' certificates")
	user         = flag.String("user", "", "log in with SCRAM-SHA-512")
	passwordFile = flag.String("password-file", "", "`file` with the password of -user")
)

func main() {
	flag.Parse()
	if *brokers == "" || *topic == "" || *group == "" {
		fmt.Fprintln(os.Stderr, "read-flows: -brokers, -topic and -group are needed")
		os.Exit(2)
	}
	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := run(stop); err != nil {
		fmt.Fprintln(os.Stderr, "read-flows:", err)
		os.Exit(1)
	}
}

func run(stop context.Context) error {
	options, err := options()
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	// Leaves the group, too.
	defer client.Close()
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()

	for printed := 0; *count == 0 || printed < *count; {
		fetches := client.PollFetches(stop)
		if stop.Err() != nil {
			return nil
		}
		for _, failed := range fetches.Errors() {
			// The client goes on trying; a topic that is not there, or not ours, will not get better.
			if broken := new(kerr.Error); errors.As(failed.Err, &broken) && !broken.Retriable {
				return fmt.Errorf("topic %s: %w", failed.Topic, failed.Err)
			}
			fmt.Fprintln(os.Stderr, "read-flows:", failed.Err)
		}
		var done []*kgo.Record
		for _, record := range fetches.Records() {
			flows, err := flowsOf(record.Value)
			if err != nil {
				fmt.Fprintf(os.Stderr, "read-flows: the value at offset %d of partition %d of %s cannot be read: %v\n",
					record.Offset, record.Partition, record.Topic, err)
			}
			isWhole := true
			for _, flow := range flows {
				if *count > 0 && printed == *count {
					isWhole = false
					break
				}
				fmt.Fprintln(out, line(flow))
				printed++
			}
			// A value of which some flows are left comes again, and so do those behind it.
			if !isWhole {
				break
			}
			done = append(done, record)
		}
		// Printed first, then committed: a crash in between repeats flows and loses none.
		if err := out.Flush(); err != nil {
			return err
		}
		if err := client.CommitRecords(context.Background(), done...); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	return nil
}

func options() ([]kgo.Opt, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(*brokers, ",")...),
		kgo.ConsumeTopics(*topic),
		kgo.ConsumerGroup(*group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
	}
	if *useTLS {
		config := new(tls.Config)
		if *ca != "" {
			pem, err := os.ReadFile(*ca)
			if err != nil {
				return nil, err
			}
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s holds no certificate", *ca)
			}
		}
		options = append(options, kgo.DialTLSConfig(config))
	}
	if *user != "" {
		password, err := os.ReadFile(*passwordFile)
		if err != nil {
			return nil, err
		}
		login := scram.Auth{User: *user, Pass: strings.TrimSpace(string(password))}
		options = append(options, kgo.SASL(login.AsSha512Mechanism()))
	}
	return options, nil
}

// flowsOf returns all flows of one value, or an error and none.
func flowsOf(value []byte) ([]*flowpb.FlowMessage, error) {
	var flows []*flowpb.FlowMessage
	for reader := bytes.NewReader(value); ; {
		flow := new(flowpb.FlowMessage)
		switch err := protodelim.UnmarshalFrom(reader, flow); {
		case err == io.EOF:
			return flows, nil
		case err != nil:
			return nil, err
		}
		flows = append(flows, flow)
	}
}

// address returns an address of 4 or 16 bytes as text, IPv4 in IPv6 form as IPv4, and "-" for none.
func address(raw []byte) string {
	addr, ok := netip.AddrFromSlice(raw)
	if !ok {
		return "-"
	}
	return addr.Unmap().String()
}

func line(flow *flowpb.FlowMessage) string {
	start := time.Unix(0, int64(flow.TimeFlowStartNs)).UTC().Format("2006-01-02T15:04:05Z")
	return fmt.Sprintf("%s %s:%d -> %s:%d proto %d bytes %d packets %d", start,
		address(flow.SrcAddr), flow.SrcPort, address(flow.DstAddr), flow.DstPort, flow.Proto, flow.Bytes, flow.Packets)
}
