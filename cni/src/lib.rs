//! The CNI plugins of Istio and Linkerd.
