// Command cadvisor stands in for upstream's program of that name, whose command cannot be had as a module: the same
// collector on the same address, without the web pages. Flags that it does not have are upstream's pages' and storages'.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os/signal"
	"strings"
	"syscall"
	"time"

	_ "github.com/google/cadvisor/container/docker/install"
	"github.com/google/cadvisor/lib/cache/memory"
	"github.com/google/cadvisor/lib/container"
	"github.com/google/cadvisor/lib/manager"
	"github.com/google/cadvisor/lib/metrics"
	"github.com/google/cadvisor/lib/model"
	"github.com/google/cadvisor/lib/utils/sysfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

var (
	ip       = flag.String("listen_ip", "", "address to listen on, all if empty")
	port     = flag.Int("port", 8080, "port to listen on")
	keep     = flag.Duration("storage_duration", 2*time.Minute, "how long figures are kept")
	all      = flag.Bool("store_container_labels", true, "every label of a container becomes one of its series")
	some     = flag.String("whitelisted_container_labels", "", "the labels that do, if not every one, joined by commas")
	disabled = container.MetricSet{
		container.MemoryNumaMetrics: {}, container.NetworkTcpUsageMetrics: {}, container.NetworkUdpUsageMetrics: {},
		container.NetworkAdvancedTcpUsageMetrics: {}, container.ProcessSchedulerMetrics: {}, container.ProcessMetrics: {},
		container.HugetlbUsageMetrics: {}, container.ReferencedMemoryMetrics: {}, container.CPUTopologyMetrics: {},
		container.ResctrlMetrics: {}, container.CPUSetMetrics: {},
	}
	enabled = container.MetricSet{}
)

func main() {
	flag.Var(&disabled, "disable_metrics", "kinds of figures to leave out, joined by commas")
	flag.Var(&enabled, "enable_metrics", "kinds of figures to take, and no others")
	klog.InitFlags(nil)
	flag.Parse()
	if err := serve(); err != nil {
		log.Fatalf("cadvisor: %v", err)
	}
}

// serve collects and answers until the process is told to stop.
func serve() error {
	kinds := container.AllMetrics.Difference(disabled)
	if len(enabled) > 0 {
		kinds = enabled
	}
	collecting, err := manager.New(memory.New(*keep, nil), sysfs.NewRealSysFs(), manager.HousekeepingConfigFlags, kinds,
		[]string{""}, []string{""}, "", 0)
	if err != nil {
		return fmt.Errorf("cannot collect: %w", err)
	}
	if err := collecting.Start(); err != nil {
		return fmt.Errorf("cannot start collecting: %w", err)
	}
	server := &http.Server{Addr: fmt.Sprintf("%s:%d", *ip, *port), Handler: routes(collecting, kinds), ReadHeaderTimeout: 10 * time.Second}
	told, forget := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer forget()
	go func() {
		<-told.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return collecting.Stop()
}

func routes(collecting manager.Manager, kinds container.MetricSet) http.Handler {
	labels := metrics.DefaultContainerLabels
	if !*all {
		labels = metrics.BaseContainerLabels(strings.Split(*some, ","))
	}
	asked := model.RequestOptions{IdType: model.TypeName, Count: 1, Recursive: true}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		metrics.NewPrometheusCollector(collecting, labels, kinds, clock.RealClock{}, asked),
		metrics.NewPrometheusMachineCollector(collecting, kinds),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	mux.HandleFunc("/healthz", func(answer http.ResponseWriter, _ *http.Request) { _, _ = answer.Write([]byte("ok")) })
	return mux
}
