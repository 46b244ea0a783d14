#pragma once
// Label-propagation partitioners over a CSR of in-edges: Spinner and switching-aware moves.
// Nothing here depends on the number of threads: same seed, same labels.

#include <cstdint>
#include <span>
#include <vector>

namespace shoestring::graph {

struct CsrView {
  std::span<const std::int64_t> indptr;   // vertices + 1
  std::span<const std::int32_t> indices;  // neighbours

  [[nodiscard]] std::int32_t num_vertices() const noexcept {
    return static_cast<std::int32_t>(indptr.size()) - 1;
  }
};

enum class Moves : std::uint8_t { kSpinner, kSwitching };

struct PropagationOptions {
  std::int32_t parts = 1;
  std::int32_t max_iterations = 50;
  std::int32_t patience = 5;   // iterations below `tolerance` before it stops
  double tolerance = 1e-3;     // relative gain of the total score
  double capacity = 1.1;       // largest part over the mean
  std::uint64_t seed = 0;      // of Spinner's draws
  std::int32_t threads = 1;
  Moves moves = Moves::kSwitching;
  bool group_by_second = true;  // switching: whole groups of one second preference; off: by vertex id
};

struct PropagationResult {
  std::int32_t iterations = 0;
  std::vector<double> scores;         // mean score before the moves of every iteration
  std::vector<std::int64_t> moved;    // vertices moved in every iteration
};

// Improves `labels` (one in 0..parts-1 a vertex) in place.
// Memory beyond the arguments: 24 bytes a vertex and 16 a part.
[[nodiscard]] PropagationResult propagate_labels(CsrView graph, std::span<std::int32_t> labels,
                                                 const PropagationOptions& options);

// Breadth-first order of all vertices, component after component, from `start` on.
// order[i] is the i-th vertex visited. 4 bytes a vertex for the order, 1 bit for the marks.
void breadth_first_order(CsrView graph, std::int32_t start, std::span<std::int32_t> order);

}  // namespace shoestring::graph
