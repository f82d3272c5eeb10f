// What the general domain asks: everyday facts, by table.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace switchyard::trainer {

struct GeneralTable {
  std::string name;
  std::vector<std::string> train_forms;  // "{term}" is what is asked about
  std::string valid_form, test_form;
  std::vector<std::pair<std::string, std::string>> facts;  // term, answer; the wrong options are other answers of the table
};

const std::vector<GeneralTable>& GeneralTables();

}  // namespace switchyard::trainer
