#include <algorithm>
#include <numeric>
#include <vector>

#include "check.hpp"
#include "shoestring/graph/partition.hpp"

namespace graph = shoestring::graph;

namespace {

struct Graph {
  std::vector<std::int64_t> indptr{0};
  std::vector<std::int32_t> indices;
  graph::CsrView view() const { return {indptr, indices}; }
};

// A ring of `count` cliques of `size` vertices; vertices of one clique are `count` apart.
Graph cliques(std::int32_t count, std::int32_t size) {
  Graph out;
  for (std::int32_t v = 0; v < count * size; ++v) {
    for (std::int32_t k = 0; k < size; ++k) {
      const auto u = k * count + v % count;
      if (u != v) out.indices.push_back(u);
    }
    out.indices.push_back(v / count * count + (v + 1) % count);
    out.indptr.push_back(static_cast<std::int64_t>(out.indices.size()));
  }
  return out;
}

std::int64_t cut(const Graph& g, const std::vector<std::int32_t>& labels) {
  std::int64_t edges = 0;
  for (std::size_t v = 0; v + 1 < g.indptr.size(); ++v) {
    for (auto e = g.indptr[v]; e < g.indptr[v + 1]; ++e) {
      edges += labels[v] != labels[static_cast<std::size_t>(g.indices[static_cast<std::size_t>(e)])];
    }
  }
  return edges;
}

std::vector<std::int32_t> scattered(std::size_t n, std::int32_t parts) {
  std::vector<std::int32_t> labels(n);
  for (std::size_t v = 0; v < n; ++v) labels[v] = static_cast<std::int32_t>((v * 7919U) % static_cast<std::size_t>(parts));
  return labels;
}

void moves_cut_fewer_edges_and_keep_the_limit(graph::Moves moves) {
  const auto g = cliques(24, 12);
  const std::size_t n = g.indptr.size() - 1;
  auto one = scattered(n, 5);
  auto four = one;
  const auto before = cut(g, one);
  graph::PropagationOptions options;
  options.parts = 5;
  options.moves = moves;
  options.seed = 3;
  const auto done = graph::propagate_labels(g.view(), one, options);
  options.threads = 4;
  const auto again = graph::propagate_labels(g.view(), four, options);
  CHECK(one == four);
  CHECK(done.scores == again.scores);
  CHECK(cut(g, one) < before / 2);
  std::vector<int> sizes(5, 0);
  for (const auto label : one) ++sizes[static_cast<std::size_t>(label)];
  for (const auto size : sizes) CHECK(size <= static_cast<int>(1.1 * static_cast<double>(n) / 5));
}

void empty_and_edgeless_graphs_are_left_alone() {
  graph::PropagationOptions options;
  options.parts = 3;
  std::vector<std::int32_t> none;
  const std::vector<std::int64_t> zero{0};
  CHECK(graph::propagate_labels({zero, {}}, none, options).iterations == 1);
  const std::vector<std::int64_t> flat(5, 0);
  std::vector<std::int32_t> labels{0, 1, 2, 0};
  const auto start = labels;
  CHECK(graph::propagate_labels({flat, {}}, labels, options).moved.front() == 0);
  CHECK(labels == start);
}

void breadth_first_order_is_a_permutation() {
  const auto g = cliques(9, 5);
  std::vector<std::int32_t> order(45);
  graph::breadth_first_order(g.view(), 44, order);
  CHECK(order.front() == 44);
  std::vector<std::int32_t> all(45);
  std::iota(all.begin(), all.end(), 0);
  CHECK(std::is_permutation(order.begin(), order.end(), all.begin()));
}

}  // namespace

int main() {
  moves_cut_fewer_edges_and_keep_the_limit(graph::Moves::kSwitching);
  moves_cut_fewer_edges_and_keep_the_limit(graph::Moves::kSpinner);
  empty_and_edgeless_graphs_are_left_alone();
  breadth_first_order_is_a_permutation();
  return check::report();
}
